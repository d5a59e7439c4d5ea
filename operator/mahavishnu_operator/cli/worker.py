"""worker: one worker agent in the foreground. Backends start it; a person may too, to join a pool from elsewhere."""

from __future__ import annotations

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
) -> None:
    """Run one worker of a pool (backends start it; `local-process` does so by itself)."""
    from mahavishnu_operator.worker.agent import run_agent
    from mahavishnu_operator.worker.config import WorkerConfig

    from .settings import load_settings

    try:
        token = token_file.read_text().strip()
    except OSError as error:
        raise InvalidInput(f"cannot read the token in {token_file}: {error.strerror}") from None
    config = WorkerConfig(
        server=server,
        token=token,
        pool=pool,
        worker=name,
        slots=slots,
        work_dir=str(work_dir.resolve()),
        grace_seconds=grace_seconds,
        log_level=load_settings().log_level,
    )
    sys.exit(run_agent(config))
