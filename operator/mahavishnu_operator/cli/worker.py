"""worker, runner-host: one worker agent, and where its tools run, in the foreground.

Backends start them; a person may too, to join a pool from elsewhere.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from mahavishnu_operator.support.errors import InvalidInput


def worker(
    server: Annotated[str, typer.Option("--dispatcher", metavar="URL", help="Dispatcher to lease from.")],
    pool: Annotated[str, typer.Option("--pool", metavar="NAMESPACE/NAME", help="Pool to join.")],
    name: Annotated[str, typer.Option("--name", help="Name of this worker in the pool.")],
    token_file: Annotated[Path, typer.Option("--token-file", help="File with this worker's token.")],
    slots: Annotated[int, typer.Option("--slots", min=1, max=64, help="Tasks to run at the same time.")] = 1,
    work_dir: Annotated[Path, typer.Option("--work-dir", help="Folder for scratch space.")] = Path("."),
    grace_seconds: Annotated[float, typer.Option("--grace", min=0, help="Seconds to finish in on SIGTERM.")] = 60.0,
    ca_file: Annotated[
        Path | None,
        typer.Option(
            "--ca-file",
            help="Certificates that prove a dispatcher at https; or their text in $MAHAVISHNU_DISPATCHER_CA.",
        ),
    ] = None,
    runner_socket: Annotated[
        Path | None,
        typer.Option("--runner-socket", help="Start no tools here: wait at this path for `mahavishnu runner-host`."),
    ] = None,
) -> None:
    """Run one worker of a pool (backends start it; `local-process` does so by itself)."""
    from mahavishnu_operator.worker.agent import run_agent
    from mahavishnu_operator.worker.config import WorkerConfig

    from .settings import load_settings

    if not token_file.is_file():
        raise InvalidInput(f"there is no token at {token_file}", hint="name the file that holds this worker's token")
    config = WorkerConfig(
        server=server,
        token_file=str(token_file.resolve()),
        ca_file=str(ca_file or ""),
        ca_pem="" if ca_file else os.environ.get("MAHAVISHNU_DISPATCHER_CA", ""),
        runner_socket=str(runner_socket or ""),
        pool=pool,
        worker=name,
        slots=slots,
        work_dir=str(work_dir.resolve()),
        grace_seconds=grace_seconds,
        log_level=load_settings().log_level,
    )
    sys.exit(run_agent(config))


def runner_host(
    socket: Annotated[Path, typer.Option("--socket", help="Where the agent waits: its --runner-socket.")],
    work_dir: Annotated[Path, typer.Option("--work-dir", help="Folder for scratch space.")] = Path("."),
) -> None:
    """Run tools for a worker agent in another container (the kubernetes backend starts it)."""
    from mahavishnu_operator.worker.runner_host import run_host

    from .settings import load_settings

    sys.exit(run_host(socket, work_dir.resolve(), log_level=load_settings().log_level))
