"""A worker that was cut off past its lease brings its result too late: it is told so, and the other one counts."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from mahavishnu_operator.api.wire import CommandTask
from tests.integration.worker_tools import POOL, running_bench, start_agent

from .network import FaultyNetwork

DEADLINE_SECONDS = 60.0
GATED = """
import os, sys, time
open(sys.argv[1], 'a').write('began\\n')
while not os.path.exists(sys.argv[2]): time.sleep(0.01)
"""


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not true():  # noqa: ASYNC110 -- nothing to await
            await asyncio.sleep(0.01)


async def test_a_result_that_comes_after_its_lease_is_told_superseded(tmp_path: Path) -> None:
    began, gate = tmp_path / "began", tmp_path / "gate"
    began.touch()
    task = CommandTask(argv=(sys.executable, "-c", GATED, str(began), str(gate)), allowed=("any",))
    async with running_bench(tmp_path, lease_seconds=1.0) as bench:
        receipts = bench.dispatch.meters.pool(POOL).results
        with FaultyNetwork(bench.port) as network:
            token = await bench.dispatch.issue_token(pool=POOL, worker="far")
            far = await start_agent(f"http://127.0.0.1:{network.port}", "far", token=token, folder=tmp_path / "far")
            bench.agents.append(far)
            await bench.submit(task)
            await until(lambda: began.read_text().count("\n") == 1)
            network.be_half_open(True)
            gate.touch()
            await until(lambda: b"POST /v1/results" in network.swallowed)
            await bench.until(lambda progress: progress.running == 0)
            await bench.agent("near")
            (result,) = await bench.results()
            network.be_half_open(False)
            await until(lambda: receipts["superseded"]._value.get() == 1)
            assert (result.status, result.attempt) == ("succeeded", 2)
            assert await bench.results() == [result]
            assert receipts["recorded"]._value.get() == 1
    assert began.read_text().count("\n") == 2
