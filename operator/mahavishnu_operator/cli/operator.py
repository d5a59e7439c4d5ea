"""operator: the control plane against a Kubernetes API server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mahavishnu_operator.support.errors import InvalidInput

from .extras import require

if TYPE_CHECKING:
    from mahavishnu_operator.backends.kubernetes.settings import KubernetesSettings

    from .settings import Settings

DISPATCH_PORT = 8681
PROBE_PORT = 8682
NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def operator(
    kubeconfig: Annotated[
        Path | None,
        typer.Option(
            "--kubeconfig", metavar="FILE", help="Credentials. Default: $KUBECONFIG, then the Pod's own, then ~/.kube."
        ),
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
        Path | None,
        typer.Option("--data", metavar="DIR", help="Where tasks and results are kept.  [env: MAHAVISHNU_DATA_DIR]"),
    ] = None,
    store_url: Annotated[
        str | None,
        typer.Option(
            "--store-url",
            metavar="URL",
            help="Keep tasks and results in this PostgreSQL database instead; a password belongs into PGPASSFILE or"
            " the environment.  [env: MAHAVISHNU_STORE_URL]",
        ),
    ] = None,
    blob_dir: Annotated[
        Path | None,
        typer.Option(
            "--blob-dir",
            metavar="DIR",
            help="With a database: keep blobs as files there.  [env: MAHAVISHNU_BLOB_DIR]",
        ),
    ] = None,
    worker_image: Annotated[
        str | None,
        typer.Option("--worker-image", help="Let pools run workers as Pods of this image: the one of this version."),
    ] = None,
    dispatcher_url: Annotated[
        str | None, typer.Option("--dispatcher-url", metavar="URL", help="Where those Pods reach the dispatcher.")
    ] = None,
    dispatcher_ca: Annotated[
        Path | None,
        typer.Option("--dispatcher-ca", metavar="FILE", help="Certificates that prove it to them, if it is at https."),
    ] = None,
    dispatch_host: Annotated[str, typer.Option("--dispatch-host", help="Address that workers call.")] = "127.0.0.1",
    dispatch_port: Annotated[
        int, typer.Option("--dispatch-port", min=0, max=65535, help="Port that workers call; 0: any free one.")
    ] = DISPATCH_PORT,
    dispatch_cert: Annotated[
        Path | None,
        typer.Option("--dispatch-cert", metavar="FILE", help="Its TLS certificate: needed beyond loopback."),
    ] = None,
    dispatch_key: Annotated[
        Path | None, typer.Option("--dispatch-key", metavar="FILE", help="The key of that certificate.")
    ] = None,
    allow_plain_http: Annotated[
        bool, typer.Option("--allow-plain-http", help="Do without TLS: the network between is trusted with tokens.")
    ] = False,
    probe_host: Annotated[
        str,
        typer.Option("--probe-host", help="Address of /healthz and /metrics, and on loopback also of the results."),
    ] = "127.0.0.1",
    probe_port: Annotated[
        int, typer.Option("--probe-port", min=0, max=65535, help="Port of the probes; 0: any free one.")
    ] = PROBE_PORT,
) -> None:
    """Run the operator: watch both kinds on an API server and act on them. Stop it with SIGTERM or Ctrl-C.

    Whoever may create a WorkerPool and a ScanJob runs code beside the operator once --enable-local-process is given;
    --path-root bounds what they can read through source.path.
    """
    require("operator", what="`mahavishnu operator`")
    from mahavishnu_operator.support.logs import configure_logging

    from .settings import git_authorities, load_settings

    roots = local_roots(path_root or [], enabled=enable_local_process)
    for name in namespace or ():
        if not NAMESPACE.fullmatch(name):
            raise InvalidInput(f"--namespace {name!r} is no name of a namespace", hint="repeat the option for several")
    settings = load_settings()
    configure_logging(level=settings.log_level)
    import uvloop  # a quarter less processor time a ScanJob than the standard loop

    from mahavishnu_operator.control.engine import EngineOptions
    from mahavishnu_operator.control.operator import OperatorOptions, find_connection, run_operator

    git_ca = git_authorities(settings)
    engine = EngineOptions(
        data_dir=data or settings.data_dir,
        store_url=store_url or settings.store_url,
        blob_dir=blob_dir or settings.blob_dir,
        dispatch_host=dispatch_host,
        dispatch_port=dispatch_port,
        dispatch_certificate=_existing(dispatch_cert, "--dispatch-cert"),
        dispatch_key=_existing(dispatch_key, "--dispatch-key"),
        dispatch_plain_http=allow_plain_http,
        enable_local_process=enable_local_process,
        git_ca=git_ca,
        kubernetes=_kubernetes(worker_image, dispatcher_url, dispatcher_ca, settings=settings, git_ca=git_ca),
        path_roots=roots,
        namespaces=tuple(dict.fromkeys(namespace or ())),
        lease_seconds=settings.lease_seconds,
        log_level=settings.log_level,
    )
    connection = find_connection(kubeconfig, context)
    uvloop.run(run_operator(OperatorOptions(engine, connection, probe_host=probe_host, probe_port=probe_port)))


def _existing(file: Path | None, option: str) -> Path | None:
    """The file, if one was named. InvalidInput: it is not there."""
    if file is not None and not file.is_file():
        raise InvalidInput(f"{option} {file} is no file", hint="name a file of PEM text")
    return file


def _kubernetes(
    image: str | None, url: str | None, ca: Path | None, *, settings: Settings, git_ca: str
) -> KubernetesSettings | None:
    """What worker Pods are made of; None: the backend is off. InvalidInput: one option without the other."""
    from mahavishnu_operator.backends.kubernetes.settings import KubernetesSettings

    if image is None and url is None and ca is None:
        return None
    if not image or not url:
        raise InvalidInput(
            "--worker-image and --dispatcher-url belong together",
            hint="name the image that Pods run, and the address that they reach this operator's dispatcher at",
        )
    if re.fullmatch(r"https?://[^/\s]+/?", url) is None:
        raise InvalidInput(f"--dispatcher-url {url!r} is no address", hint="as in http://NAME.NAMESPACE.svc:8681")
    try:
        pem = ca.read_text() if ca is not None else ""
    except (OSError, ValueError) as error:
        raise InvalidInput(f"--dispatcher-ca {ca} cannot be read: {error}") from None
    return KubernetesSettings(
        image=image, dispatcher_url=url.rstrip("/"), ca_pem=pem, git_ca_pem=git_ca, log_level=settings.log_level
    )


def local_roots(folders: list[Path], *, enabled: bool) -> tuple[Path, ...]:
    """The folders that source.path may lie in, links followed. InvalidInput: one flag without the other, no folder."""
    if enabled and not folders:
        raise InvalidInput(
            "--enable-local-process needs --path-root", hint="name each folder that ScanJobs may name: --path-root DIR"
        )
    if folders and not enabled:
        raise InvalidInput(
            "--path-root does nothing without --enable-local-process", hint="give both options, or neither"
        )
    for folder in folders:
        if not folder.is_dir():
            raise InvalidInput(f"--path-root {folder} is not a folder", hint="make it first, or correct the name")
    return tuple(folder.resolve() for folder in folders)
