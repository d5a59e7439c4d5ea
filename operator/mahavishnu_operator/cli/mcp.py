"""mcp: the gateway for agents, as a process of its own before a cluster or a `mahavishnu up`."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mahavishnu_operator.support.errors import InvalidInput

from .gateways import AllowOption, WorkspaceOption, gateway_options
from .output import say
from .server import (
    ContextOption,
    DispatcherCaOption,
    DispatcherUrlOption,
    KubeconfigOption,
    ServerOption,
    find_server,
)

if TYPE_CHECKING:
    from mahavishnu_operator.client.door import Way
    from mahavishnu_operator.mcp_gateway.gateway import GatewayOptions

DEFAULT_PORT = 8680
SHORTEST_TOKEN = 16
HOW_TO_BE_LET_IN = "send `Authorization: Bearer ...` with the token of this gateway, as its --token-file has it"

app = typer.Typer(help="The MCP gateway: agents drive pools and jobs.", no_args_is_help=True)


class Transport(StrEnum):
    """Values of --transport."""

    HTTP = "http"
    STDIO = "stdio"


@app.callback()
def mcp() -> None:
    """The MCP gateway: agents drive pools and jobs."""


@app.command()
def start(
    transport: Annotated[
        Transport, typer.Option("--transport", help="Streamable HTTP, or stdin and stdout.")
    ] = Transport.HTTP,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; off loopback a token is needed.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0: any free one.")] = DEFAULT_PORT,
    server: ServerOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Namespace that is served; default: the credentials' own.")
    ] = None,
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Serve all namespaces.")] = False,
    workspace: WorkspaceOption = None,
    allow: AllowOption = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", metavar="FILE", help="Ask callers for this token.  [env: MAHAVISHNU_MCP_TOKEN]"),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option("--allowed-host", metavar="NAME", help="Name by which it is called besides loopback's (repeat)."),
    ] = None,
    dispatcher_url: DispatcherUrlOption = None,
    dispatcher_ca: DispatcherCaOption = None,
) -> None:
    """Serve agents: before a `mahavishnu up` (--server, the default) or a cluster (--kubeconfig, --context).

    `mahavishnu up` serves /mcp by itself; this is for agents that start their server (stdio), and for clusters.
    """
    from mahavishnu_operator.client.door import Way
    from mahavishnu_operator.support.logs import configure_logging

    from .settings import load_settings

    settings = load_settings()
    configure_logging(level=settings.log_level if transport is Transport.HTTP else "warning")
    options = gateway_options(workspace, allow, all_namespaces=all_namespaces)
    token = _read_token(token_file) if token_file is not None else settings.mcp_token
    if transport is Transport.HTTP:
        _check_reach(host, token)
    clustered = kubeconfig or context or os.environ.get("KUBECONFIG") or os.environ.get("KUBERNETES_SERVICE_HOST")
    url = server if server is not None or clustered else settings.url
    connection, embedded = find_server(url, kubeconfig=kubeconfig, context=context)
    way = Way(connection, embedded, dispatcher_url, dispatcher_ca)
    where = namespace or connection.namespace or "default"
    if transport is Transport.STDIO:
        # Ended at once, as by SIGTERM: who interrupts a gateway takes no work with it, and stdin cannot be let go of.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        asyncio.run(_stdio(way, where, options))
    else:
        hosts = (*(allowed_host or ()), host)
        asyncio.run(_http(way, where, options, host=host, port=port, token=token, hosts=hosts))


async def _stdio(way: Way, namespace: str, options: GatewayOptions) -> None:
    from mahavishnu_operator.client import Client
    from mahavishnu_operator.mcp_gateway.gateway import Gateway
    from mahavishnu_operator.mcp_gateway.server import serve_stdio

    async with Client.over(way, namespace=namespace) as client:
        await serve_stdio(Gateway(client, options))


async def _http(
    way: Way, namespace: str, options: GatewayOptions, *, host: str, port: int, token: str, hosts: tuple[str, ...]
) -> None:
    from prometheus_client import CollectorRegistry
    from starlette.applications import Starlette
    from starlette.middleware import Middleware

    from mahavishnu_operator.client import Client
    from mahavishnu_operator.control.serving import listen, serve
    from mahavishnu_operator.mcp_gateway.gateway import Gateway
    from mahavishnu_operator.mcp_gateway.server import mcp_routes, probe_routes
    from mahavishnu_operator.resources.rest.guard import Guard

    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    listener, registry = listen(host, port), CollectorRegistry()
    async with Client.over(way, namespace=namespace) as client:
        gateway = Gateway(client, options)
        async with mcp_routes(gateway, registry) as routes:
            served = Starlette(
                routes=[*routes, *probe_routes(gateway, registry)],
                middleware=[Middleware(Guard, allowed_hosts=hosts, token=token or None, hint=HOW_TO_BE_LET_IN)],
            )
            async with serve(served, listener):
                shown = f"[{host}]" if ":" in host else host
                say(f"serving agents on http://{shown}:{listener.getsockname()[1]}/mcp for {way.connection.server}")
                await stopping.wait()
                say("stopping: work that was begun goes on")
                await gateway.stop()


def _check_reach(host: str, token: str) -> None:
    """InvalidInput when others could reach it and nothing is asked of them."""
    try:
        loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback and not token:
        raise InvalidInput(
            f"--host {host} lets others reach the gateway, and whoever reaches it runs commands",
            hint="name a --token-file that only you can read, or stay on 127.0.0.1",
        )
    if token and len(token) < SHORTEST_TOKEN:
        raise InvalidInput(f"the token has {len(token)} characters", hint=f"take {SHORTEST_TOKEN} or more, at random")


def _read_token(file: Path) -> str:
    try:
        mode = file.stat().st_mode
        text = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the token in {file} cannot be read: {error}") from None
    if stat.S_IMODE(mode) & 0o077:
        raise InvalidInput(f"others can read the token in {file}", hint=f"chmod 600 {file}")
    if not text:
        raise InvalidInput(f"there is no token in {file}", hint="write one line into it")
    return text
