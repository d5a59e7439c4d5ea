"""operator: the control plane against a Kubernetes API server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mahavishnu_operator.support.errors import InvalidInput

DISPATCH_PORT = 8681
PROBE_PORT = 8682


def operator(
    kubeconfig: Annotated[
        Path | None, typer.Option("--kubeconfig", metavar="FILE", help="Credentials; default: the pod's own.")
    ] = None,
    context: Annotated[
        str | None, typer.Option("--context", help="Context in that file; default: its current one.")
    ] = None,
    namespace: Annotated[
        list[str] | None, typer.Option("--namespace", "-n", help="Watch this namespace alone (repeat); default: all.")
    ] = None,
    enable_local_process: Annotated[
        bool, typer.Option("--enable-local-process", help="Let pools run workers as processes beside the operator.")
    ] = False,
    path_root: Annotated[
        list[Path] | None,
        typer.Option("--path-root", metavar="DIR", help="Folder that source.path may lie in (repeat)."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Where tasks and results are kept.")
    ] = None,
    dispatch_host: Annotated[str, typer.Option("--dispatch-host", help="Address that workers call.")] = "127.0.0.1",
    dispatch_port: Annotated[int, typer.Option("--dispatch-port", min=0, max=65535)] = DISPATCH_PORT,
    probe_host: Annotated[str, typer.Option("--probe-host", help="Address of /healthz and /metrics.")] = "127.0.0.1",
    probe_port: Annotated[int, typer.Option("--probe-port", min=0, max=65535)] = PROBE_PORT,
) -> None:
    """Run the operator: watch both kinds on an API server and act on them. Stop it with SIGTERM or Ctrl-C.

    Whoever may create a WorkerPool and a ScanJob runs code beside the operator once --enable-local-process is given;
    --path-root bounds what they can read through source.path.
    """
    from mahavishnu_operator.support.logs import configure_logging

    from .settings import load_settings

    roots = tuple(path.resolve() for path in path_root or ())
    if enable_local_process and not roots:
        raise InvalidInput("--enable-local-process needs --path-root", hint="name the folders that may be scanned")
    for root in roots:
        if not root.is_dir():
            raise InvalidInput(f"--path-root {root} is not a folder", hint="make it first")
    settings = load_settings()
    configure_logging(level=settings.log_level)
    from mahavishnu_operator.control.engine import EngineOptions
    from mahavishnu_operator.control.operator import OperatorOptions, run_operator

    engine = EngineOptions(
        data_dir=data or settings.data_dir,
        dispatch_host=dispatch_host,
        dispatch_port=dispatch_port,
        enable_local_process=enable_local_process,
        path_roots=roots,
        namespaces=tuple(namespace or ()),
        log_level=settings.log_level,
    )
    run_operator(
        OperatorOptions(
            engine=engine, kubeconfig=kubeconfig, context=context, probe_host=probe_host, probe_port=probe_port
        )
    )
