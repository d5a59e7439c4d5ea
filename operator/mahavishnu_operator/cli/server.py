"""The connection of the client commands: one server, by flag, environment or default.

The same client speaks to `mahavishnu up` and to a cluster's API server, because both speak Kubernetes
REST conventions.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mahavishnu_operator.resources.connection import Connection
    from mahavishnu_operator.resources.kubernetes import KubernetesResources

ServerOption = Annotated[
    str | None,
    typer.Option("--server", "-s", metavar="URL", help="Server to talk to.  [env: MAHAVISHNU_URL]", show_default=False),
]
KubeconfigOption = Annotated[
    Path | None,
    typer.Option(
        "--kubeconfig", metavar="FILE", help="Credentials. Default: $KUBECONFIG, then ~/.kube, then a Pod's own."
    ),
]
ContextOption = Annotated[str | None, typer.Option("--context", help="Context in that file; default: its current one.")]
DispatcherUrlOption = Annotated[
    str | None,
    typer.Option(
        "--dispatcher-url", metavar="URL", help="Where the dispatcher is; default: through the API server's proxy."
    ),
]
DispatcherCaOption = Annotated[
    Path | None, typer.Option("--dispatcher-ca", metavar="FILE", help="Certificates that prove that address.")
]
NamespaceOption = Annotated[str, typer.Option("--namespace", "-n", help="Namespace of the objects.")]


def find_server(server: str | None, *, kubeconfig: Path | None, context: str | None) -> tuple[Connection, bool]:
    """The server of a command that takes a kubeconfig; True: it is a `mahavishnu up`, named by its address."""
    from mahavishnu_operator.resources.connection import Connection

    from .settings import load_settings

    if server is not None:
        return Connection.from_url(server, token=load_settings().token or None), True
    named = kubeconfig is not None or context is not None or os.environ.get("KUBECONFIG")
    if not named and os.environ.get("KUBERNETES_SERVICE_HOST"):
        return Connection.in_cluster(), False
    return Connection.from_kubeconfig(kubeconfig, context), False


def find_address(server: str | None, *, kubeconfig: Path | None, context: str | None) -> str | None:
    """The address of the `mahavishnu up` that is meant; None: a cluster is.

    What was said on the command line wins over the environment, and MAHAVISHNU_URL over $KUBECONFIG.
    """
    from .settings import load_settings

    if server is not None or kubeconfig is not None or context is not None:
        return server
    settings = load_settings()
    cluster = called_by_kubectl() or os.environ.get("KUBECONFIG") or os.environ.get("KUBERNETES_SERVICE_HOST")
    return None if cluster and "url" not in settings.model_fields_set else settings.url


def called_by_kubectl() -> bool:
    """It is `kubectl mahavishnu`."""
    return os.path.basename(sys.argv[0]).startswith("kubectl-")


def goes_where_kubectl_goes(server: str | None) -> bool:
    """It is `kubectl mahavishnu`, and nobody has named another server, by flag or settings."""
    from .settings import load_settings

    return server is None and called_by_kubectl() and "url" not in load_settings().model_fields_set


@asynccontextmanager
async def connect(server: str | None) -> AsyncIterator[KubernetesResources]:
    """The resources of that server (the flag, else the settings in force, or kubectl's), closed at the end."""
    from mahavishnu_operator.resources.connection import Connection
    from mahavishnu_operator.resources.kubernetes import KubernetesResources

    from .settings import load_settings

    if goes_where_kubectl_goes(server):
        connection, _ = find_server(None, kubeconfig=None, context=None)
    else:
        settings = load_settings()
        connection = Connection.from_url(server or settings.url, token=settings.token or None)
    resources = KubernetesResources(connection)
    try:
        yield resources
    finally:
        await resources.close()
