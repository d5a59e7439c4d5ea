"""The connection of the client commands: one server, by flag, environment or default.

The same client speaks to `mahavishnu up` and to a cluster's API server, because both speak Kubernetes
REST conventions.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mahavishnu_operator.resources.kubernetes import KubernetesResources

ServerOption = Annotated[
    str | None,
    typer.Option("--server", "-s", metavar="URL", help="Server to talk to.  [env: MAHAVISHNU_URL]", show_default=False),
]
NamespaceOption = Annotated[str, typer.Option("--namespace", "-n", help="Namespace of the objects.")]


@asynccontextmanager
async def connect(server: str | None) -> AsyncIterator[KubernetesResources]:
    """The resources of that server (the flag, else the settings in force), closed at the end."""
    from mahavishnu_operator.resources.connection import Connection
    from mahavishnu_operator.resources.kubernetes import KubernetesResources

    from .settings import load_settings

    settings = load_settings()
    resources = KubernetesResources(Connection.from_url(server or settings.url, token=settings.token or None))
    try:
        yield resources
    finally:
        await resources.close()
