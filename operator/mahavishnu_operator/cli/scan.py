"""scan: a pool of local workers in this process's care, or a cluster's with --cluster; one ScanJob, the report."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from mahavishnu_operator.api.reasons import Level
from mahavishnu_operator.support.errors import InvalidInput
from mahavishnu_operator.support.text import printable

from .exits import ExitCode, looking
from .extras import require
from .output import OutputFormat
from .server import ContextOption, DispatcherCaOption, DispatcherUrlOption, KubeconfigOption, ServerOption

ALL = "all"
TOOL_HELP = "A tool to run (repeat), or `all`; default: ruff, bandit, codespell. Also: complexipy, mypy, vulture."


def scan(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder to scan.")],
    tool: Annotated[
        list[str] | None,
        typer.Option("--tool", "-t", metavar="NAME", help=TOOL_HELP),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", "-w", min=1, max=256, help="At most so many workers; default: one a processor."),
    ] = None,
    fail_on: Annotated[
        Level, typer.Option("--fail-on", help="Least level of a finding that makes the scan fail.")
    ] = Level.ERROR,
    include: Annotated[
        list[str] | None, typer.Option("--include", metavar="GLOB", help="Only these files (repeat).")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="GLOB", help="Not these files (repeat).")
    ] = None,
    sarif: Annotated[
        Path | None, typer.Option("--sarif", metavar="FILE", help="Write the report as SARIF 2.1.0.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="The same as --output json.")] = False,
    output: Annotated[
        OutputFormat, typer.Option("--output", "-o", help="How to print the report.")
    ] = OutputFormat.TABLE,
    timeout: Annotated[
        int, typer.Option("--timeout", min=1, metavar="SECONDS", help="Seconds for the whole scan.")
    ] = 3600,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Send an archive of the folder to a cluster, whose workers scan it.")
    ] = False,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="With --cluster: where the ScanJob is made.")
    ] = None,
    pool: Annotated[
        str | None, typer.Option("--pool", help="With --cluster: the WorkerPool; default: any that may be used.")
    ] = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    server: ServerOption = None,
    dispatcher_url: DispatcherUrlOption = None,
    dispatcher_ca: DispatcherCaOption = None,
) -> None:
    """Scan a folder and show the report: with a pool of local workers, or with --cluster in a cluster's.

    Exit codes: 0 passed; 1 findings at or over --fail-on, whatever else; 2 bad input; 3 incomplete (a tool crashed,
    timed out, is not installed or could read nothing); 130 interrupted (143 by SIGTERM).
    """
    from mahavishnu_operator.support.logs import configure_logging

    from .settings import load_settings

    settings = load_settings()
    configure_logging(level="error" if settings.log_level == "info" else settings.log_level)
    root, tools = _existing_folder(path), _known_tools(tool or [])
    form = OutputFormat.JSON if json_ else output
    for glob in (*(include or ()), *(exclude or ())):
        _refuse_undecodable(glob, what="the glob")
    if sarif is not None:
        _refuse_unwritable(sarif)
    if cluster:
        from .cluster_scan import ClusterScan, run_cluster_scan
        from .server import find_server

        if workers is not None:
            raise InvalidInput("--workers is about a local scan", hint="the WorkerPool says how many there are")
        connection, embedded = find_server(server, kubeconfig=kubeconfig, context=context)
        wanted = ClusterScan(
            root=root,
            connection=connection,
            embedded=embedded,
            namespace=namespace or connection.namespace or "default",
            pool=pool or "",
            tools=tools,
            fail_on=fail_on,
            include=tuple(include or ()),
            exclude=tuple(exclude or ()),
            timeout_seconds=timeout,
            dispatcher_url=dispatcher_url,
            dispatcher_ca=dispatcher_ca,
            sarif=sarif,
            form=form,
        )
        with looking():
            sys.exit(asyncio.run(run_cluster_scan(wanted)) or ExitCode.OK)
    options = {"--namespace": namespace, "--pool": pool, "--kubeconfig": kubeconfig, "--context": context}
    for name, value in (options | {"--server": server, "--dispatcher-url": dispatcher_url}).items():
        if value is not None:
            raise InvalidInput(f"{name} does nothing without --cluster", hint="give both options, or neither")
    require("engine", what="a scan on this machine")
    from .local_scan import ScanRequest, run_local_scan
    from .staffing import count_processors

    request = ScanRequest(
        root=root,
        tools=tools,
        workers=workers or settings.workers or count_processors(),
        fail_on=fail_on,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        timeout_seconds=timeout,
        sarif=sarif,
        form=form,
    )
    with looking():
        sys.exit(asyncio.run(run_local_scan(request)) or ExitCode.OK)


def _existing_folder(path: Path) -> Path:
    try:
        root = path.resolve(strict=True)
        is_folder = root.is_dir()
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        if isinstance(error, FileNotFoundError):
            raise InvalidInput(f"there is no {printable(str(path))}", hint="name a folder that exists") from None
        why = (error.strerror if isinstance(error, OSError) else "") or "too many levels of symbolic links"
        raise InvalidInput(
            f"cannot read {printable(str(path))}: {why}", hint="name a folder that you may read"
        ) from None
    if not is_folder:
        raise InvalidInput(
            f"{printable(str(path))} is not a folder", hint="name its folder, and the file with --include"
        )
    _refuse_undecodable(str(root), what="the folder")
    return root


def _refuse_undecodable(text: str, *, what: str) -> None:
    """A ScanJob is JSON, which cannot carry bytes that are not UTF-8; names below the folder travel otherwise."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput(
            f"{what} {printable(text)} is not UTF-8", hint="scan the folder above it, or give it another name"
        ) from None


def _refuse_unwritable(file: Path) -> None:
    """Before the scan: a report that cannot be written is no news to give after an hour."""
    shown = printable(str(file))
    try:
        target = file.resolve()
        if not target.parent.is_dir():
            raise InvalidInput(f"cannot write {shown}: its folder does not exist", hint="make the folder first")
        if target.is_dir():
            raise InvalidInput(f"cannot write {shown}: it is a folder", hint="name a file in it")
        if not os.access(target if target.exists() else target.parent, os.W_OK):
            raise InvalidInput(f"cannot write {shown}: permission denied", hint="name a file that you may write")
    except (OSError, RuntimeError) as error:
        why = (error.strerror if isinstance(error, OSError) else "") or "too many levels of symbolic links"
        raise InvalidInput(f"cannot write {shown}: {why}", hint="name a file in a folder that is there") from None


def _known_tools(names: list[str]) -> tuple[str, ...]:
    from mahavishnu_operator.scan.tools.registry import DEFAULT, TOOLS

    for name in names:
        if name not in TOOLS and name != ALL:
            raise InvalidInput(f"there is no tool {name!r}", hint=f"known: {', '.join(sorted(TOOLS))}; or {ALL}")
    return tuple(TOOLS) if ALL in names else tuple(dict.fromkeys(names)) or DEFAULT
