"""What holds as soon as `mahavishnu up` has said where it serves."""

from __future__ import annotations

import asyncio
import gc
import urllib.request
from pathlib import Path

import pytest

from mahavishnu_operator.cli import up
from mahavishnu_operator.control.engine import EngineOptions
from mahavishnu_operator.support.collecting import leave


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as answer:
        body: bytes = answer.read()
        return body


async def test_whoever_is_told_the_address_finds_an_engine_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    health: asyncio.Future[asyncio.Future[bytes]] = loop.create_future()

    def say(line: str) -> None:
        if line.startswith("serving on "):
            url = line.removeprefix("serving on ").partition(";")[0]
            health.set_result(loop.run_in_executor(None, fetch, f"{url}/healthz"))

    monkeypatch.setattr(up, "say", say)
    options = EngineOptions(data_dir=tmp_path, dispatch_port=0, enable_local_process=True, path_roots=None)
    serving = asyncio.create_task(up._serve(options, 0, None))
    try:
        async with asyncio.timeout(60):
            assert await (await health) == b'{"status":"ok"}'
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        leave()
        gc.unfreeze()  # of the other tests something may be garbage
