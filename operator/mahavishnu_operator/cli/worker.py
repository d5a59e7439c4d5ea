"""worker, source-fetch, source-upload: a worker that a person starts, to join a pool; what fetches sources in Pods.

Workers that backends start have entries of their own: worker/__main__.py and worker/pods.py.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from mahavishnu_operator.support.errors import InvalidInput

TERMINATION_LOG = Path("/dev/termination-log")  # of a container: what it says there is in its Pod's status


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
) -> None:
    """Run one worker of a pool from here (those of a backend are started by it)."""
    from mahavishnu_operator.worker.agent import run_agent
    from mahavishnu_operator.worker.config import WorkerConfig

    from .settings import git_authorities, load_settings

    settings = load_settings()
    if not token_file.is_file():
        raise InvalidInput(f"there is no token at {token_file}", hint="name the file that holds this worker's token")
    config = WorkerConfig(
        server=server,
        token_file=str(token_file.resolve()),
        ca_file=str(ca_file or ""),
        ca_pem="" if ca_file else os.environ.get("MAHAVISHNU_DISPATCHER_CA", ""),
        git_ca_pem=os.environ.get("MAHAVISHNU_GIT_CA_PEM", "") or git_authorities(settings),
        pool=pool,
        worker=name,
        slots=slots,
        work_dir=str(work_dir.resolve()),
        grace_seconds=grace_seconds,
        log_level=settings.log_level,
    )
    sys.exit(run_agent(config))


def source_fetch(
    into: Annotated[Path, typer.Option("--into", help="Folder for the archive.")],
    git: Annotated[str, typer.Option("--git", metavar="URL", help="Repository to fetch.")] = "",
    revision: Annotated[str, typer.Option("--revision", help="Branch, tag or commit.")] = "HEAD",
    base_revision: Annotated[str, typer.Option("--base-revision", help="Branch, tag or commit.")] = "",
    credentials: Annotated[Path | None, typer.Option("--credentials", help="Folder with a Secret's keys.")] = None,
    secret_name: Annotated[str, typer.Option("--secret-name", help="Its name, for messages.")] = "",
    folder: Annotated[Path | None, typer.Option("--folder", help="Folder to pack instead.")] = None,
    sub_path: Annotated[str, typer.Option("--sub-path", help="Folder in it.")] = "",
    termination_log: Annotated[
        Path, typer.Option("--termination-log", help="Where to say why it failed.")
    ] = TERMINATION_LOG,
) -> None:
    """Make the archive of a private repository or of a volume (the operator starts it, in a Job)."""
    from mahavishnu_operator.worker.source_fetch import FetchWanted, run_fetch

    from .settings import load_settings

    if bool(git) == (folder is not None):
        raise InvalidInput("give one of --git and --folder")
    wanted = FetchWanted(
        into=into,
        url=git,
        revision=revision,
        base_revision=base_revision,
        credentials=credentials,
        secret=secret_name,
        folder=folder,
        sub_path=sub_path,
        git_ca=os.environ.get("MAHAVISHNU_GIT_CA_PEM", ""),
    )
    sys.exit(run_fetch(wanted, log_level=load_settings().log_level, termination_log=termination_log))


def source_upload(
    source: Annotated[Path, typer.Option("--from", help="Folder with the archive.")],
    dispatcher: Annotated[str, typer.Option("--dispatcher", metavar="URL", help="Dispatcher to bring it to.")],
    scanjob: Annotated[str, typer.Option("--scanjob", metavar="NAMESPACE/NAME", help="Whose files they are.")],
    token_file: Annotated[Path, typer.Option("--token-file", help="File with the Pod's token.")],
    ca_file: Annotated[Path | None, typer.Option("--ca-file", help="Certificates that prove the dispatcher.")] = None,
    termination_log: Annotated[
        Path, typer.Option("--termination-log", help="Where to say why it failed.")
    ] = TERMINATION_LOG,
) -> None:
    """Bring an archive to the dispatcher (the operator starts it, in a Job)."""
    from mahavishnu_operator.worker.source_upload import UploadWanted, run_upload

    from .settings import load_settings

    wanted = UploadWanted(
        source=source,
        dispatcher=dispatcher.rstrip("/"),
        job=scanjob,
        token_file=token_file,
        ca_pem="" if ca_file else os.environ.get("MAHAVISHNU_DISPATCHER_CA", ""),
        ca_file=str(ca_file or ""),
    )
    sys.exit(run_upload(wanted, log_level=load_settings().log_level, termination_log=termination_log))
