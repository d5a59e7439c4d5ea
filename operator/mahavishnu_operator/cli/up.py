"""up: everything in one process, without a cluster: the API, the engine, local workers."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .entrances import read_token
from .extras import how_to_get, missing_modules, require
from .gateways import AllowOption, WorkspaceOption, gateway_mount
from .output import say

if TYPE_CHECKING:
    from mahavishnu_operator.control.embedded import EmbeddedEngine, Mount
    from mahavishnu_operator.control.engine import EngineOptions

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
    workspace: WorkspaceOption = None,
    allow: AllowOption = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file", metavar="FILE", help="Ask whoever calls for this token; they set MAHAVISHNU_TOKEN."
        ),
    ] = None,
    mcp: Annotated[
        bool | None,
        typer.Option("--mcp/--no-mcp", help="Serve agents on /mcp as well; default: where its library is installed."),
    ] = None,
) -> None:
    """Run everything in one process, on loopback: kubectl, the CLI, agents and workers talk to it.

    State survives a kill and a restart on the same folder. Stop it with Ctrl-C. With --token-file other users of this
    machine are kept out, and kubectl too, which sends no token over plain HTTP.
    """
    require("engine", what="`mahavishnu up`")
    import uvloop  # as the operator has it

    from mahavishnu_operator.control.engine import EngineOptions
    from mahavishnu_operator.support.logs import configure_logging

    from .settings import git_authorities, load_settings

    settings = load_settings()
    configure_logging(level=settings.log_level)
    options = EngineOptions(
        data_dir=data or settings.data_dir,
        dispatch_port=dispatch_port,
        enable_local_process=True,
        path_roots=None,
        git_ca=git_authorities(settings),
        lease_seconds=settings.lease_seconds,
    )
    token = read_token(token_file) if token_file is not None else None
    mount = gateway_mount(workspace, allow) if mcp or (mcp is None and not missing_modules("gateway")) else None
    uvloop.run(_serve(options, port, mount, token))


async def _serve(options: EngineOptions, port: int, mount: Mount | None, token: str | None = None) -> None:
    from mahavishnu_operator.control.embedded import EmbeddedEngine
    from mahavishnu_operator.support.collecting import settle
    from mahavishnu_operator.support.racing import first

    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with EmbeddedEngine(options, port=port, mount=mount, token=token) as engine:
        # Whoever is told the address may ask /healthz at once.
        if await first(stopping.wait(), engine.listed(), engine.failed()) == 1:
            settle()
            _say_what_is_served(engine, options.data_dir, agents=mount is not None)
            await first(stopping.wait(), engine.failed())
        say("stopping: workers finish or hand their leases back")


def _say_what_is_served(engine: EmbeddedEngine, data_dir: Path, *, agents: bool) -> None:
    say(f"serving on {engine.url}; state in {data_dir}")
    say(f"try: mahavishnu get wp --server {engine.url}")
    if agents:
        say(f"agents: {engine.url}/mcp")
    elif missing_modules("gateway"):
        say(f"agents are not served: {how_to_get('gateway')}")
    if engine.token is None:
        say(f" or: kubectl --kubeconfig {engine.kubeconfig} get workerpools")
