"""What `up` and `mcp start` have in common: how a gateway is made from the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mahavishnu_operator.support.errors import InvalidInput

from .extras import require

if TYPE_CHECKING:
    from mahavishnu_operator.control.embedded import EmbeddedEngine, Mount, Mounted
    from mahavishnu_operator.mcp_gateway.gateway import GatewayOptions

WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        metavar="DIR",
        help="Folder that agents' commands run in; default: the current one.",
        show_default=False,
    ),
]
AllowOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="NAME",
        help="A command that pools of agents may run besides the scanners (repeat); any: all.",
    ),
]


def gateway_options(workspace: Path | None, allow: list[str] | None, *, all_namespaces: bool) -> GatewayOptions:
    """The options, checked. InvalidInput: the folder is not there, a name is none, or a library is missing."""
    require("gateway", what="the MCP gateway")
    folder = workspace or Path.cwd()
    if not folder.is_dir():
        raise InvalidInput(f"--workspace {folder} is not a folder", hint="make it first, or correct the name")
    for name in allow or ():
        if not name or "/" in name:
            raise InvalidInput(f"--allow {name!r} is no name of a command", hint="a name as on the PATH, or any")
    from mahavishnu_operator.mcp_gateway.gateway import GatewayOptions

    return GatewayOptions(folder.resolve(), tuple(allow or ()), all_namespaces)


def gateway_mount(workspace: Path | None, allow: list[str] | None) -> Mount:
    """A gateway to be served by `up`, on its objects without a way around."""
    options = gateway_options(workspace, allow, all_namespaces=True)

    @asynccontextmanager
    async def mount(engine: EmbeddedEngine) -> AsyncIterator[Mounted]:
        from mahavishnu_operator.client import Client
        from mahavishnu_operator.client.door import Way
        from mahavishnu_operator.control.embedded import Mounted
        from mahavishnu_operator.mcp_gateway.gateway import Gateway
        from mahavishnu_operator.mcp_gateway.server import mcp_routes
        from mahavishnu_operator.resources.connection import Connection

        way = Way(Connection.from_url(engine.url, token=engine.token), embedded=True)
        async with Client(engine.resources, way, results=engine.results) as client:
            gateway = Gateway(client, options)
            async with mcp_routes(gateway, engine.dispatch.meters.registry) as routes:
                yield Mounted(routes, gateway.stop)

    return mount
