"""up: everything in one process, without a cluster: the API, the engine, local workers."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

from .output import say

DEFAULT_PORT = 8680
DEFAULT_DISPATCH_PORT = 8681


def up(
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DIR", help="Where the state is kept.  [env: MAHAVISHNU_DATA_DIR]", show_default=False
        ),
    ] = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port of the API; 0: any free one.")
    ] = DEFAULT_PORT,
    dispatch_port: Annotated[
        int, typer.Option("--dispatch-port", min=0, max=65535, help="Port that workers call; 0: any free one.")
    ] = DEFAULT_DISPATCH_PORT,
) -> None:
    """Run everything in one process, on loopback: kubectl, the CLI and workers talk to it.

    State survives a kill and a restart on the same folder. Stop it with Ctrl-C.
    """
    from mahavishnu_operator.support.logs import configure_logging

    from .settings import load_settings

    settings = load_settings()
    configure_logging(level=settings.log_level)
    asyncio.run(_serve(data or settings.data_dir, port, dispatch_port, lease_seconds=settings.lease_seconds))


async def _serve(data: Path, port: int, dispatch_port: int, *, lease_seconds: float) -> None:
    from mahavishnu_operator.control.embedded import EmbeddedEngine
    from mahavishnu_operator.control.engine import EngineOptions

    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    options = EngineOptions(
        data_dir=data,
        dispatch_port=dispatch_port,
        enable_local_process=True,
        path_roots=None,
        lease_seconds=lease_seconds,
    )
    async with EmbeddedEngine(options, port=port) as engine:
        say(f"serving on {engine.url}; state in {data}")
        say(f"try: mahavishnu get wp --server {engine.url}")
        say(f" or: kubectl --kubeconfig {engine.kubeconfig} get workerpools")
        waiting = asyncio.create_task(stopping.wait())
        failed = asyncio.create_task(engine.failed())
        done, _ = await asyncio.wait({waiting, failed}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if failed in done:
            failed.result()
        failed.cancel()
        say("stopping: workers finish or hand their leases back")
