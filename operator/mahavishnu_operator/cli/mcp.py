"""mcp: the gateway for agents, as a process of its own before a cluster or a `mahavishnu up`."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from mahavishnu_operator.support.errors import InvalidInput

from .entrances import (
    HOW_TO_BE_LET_IN,
    AllowedHostOption,
    AudienceOption,
    Auth,
    AuthOption,
    Entrance,
    PlainOption,
    TlsCertOption,
    TlsKeyOption,
    TokenFileOption,
    read_token,
)
from .gateways import AllowOption, WorkspaceOption, gateway_options
from .output import say
from .server import (
    ContextOption,
    DispatcherCaOption,
    DispatcherUrlOption,
    KubeconfigOption,
    ServerOption,
    find_address,
    find_server,
)

if TYPE_CHECKING:
    from mahavishnu_operator.client.door import Way
    from mahavishnu_operator.mcp_gateway.gateway import GatewayOptions

DEFAULT_PORT = 8680
DEFAULT_AUDIENCE = "mahavishnu-gateway"

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
    auth: AuthOption = Auth.SHARED_TOKEN,
    audience: AudienceOption = DEFAULT_AUDIENCE,
    token_file: TokenFileOption = None,
    allowed_host: AllowedHostOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    allow_plain_http: PlainOption = False,
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
    entrance = Entrance(
        host=host,
        port=port,
        auth=auth,
        audience=audience,
        token=read_token(token_file) if token_file is not None else settings.mcp_token,
        allowed_hosts=(*(allowed_host or ()), host),
        certificate=tls_cert,
        key=tls_key,
        allow_plain_http=allow_plain_http,
    )
    if transport is Transport.HTTP:
        entrance.check()
    elif auth is Auth.TOKEN_REVIEW:
        raise InvalidInput("--auth token-review is for HTTP", hint="over stdio you are who your kubeconfig says")
    url = find_address(server, kubeconfig=kubeconfig, context=context)
    connection, embedded = find_server(url, kubeconfig=kubeconfig, context=context)
    if embedded and auth is Auth.TOKEN_REVIEW:
        raise InvalidInput(
            f"--auth token-review needs a cluster, and {connection.server} is a `mahavishnu up`",
            hint="name a --kubeconfig, or take a --token-file",
        )
    way = Way(connection, embedded, dispatcher_url, dispatcher_ca)
    where = namespace or connection.namespace or "default"
    if transport is Transport.STDIO:
        # Ended at once, as by SIGTERM: who interrupts a gateway takes no work with it, and stdin cannot be let go of.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        asyncio.run(_stdio(way, where, options))
    else:
        import uvloop  # as in `up`

        uvloop.run(_http(way, where, options, entrance))


async def _stdio(way: Way, namespace: str, options: GatewayOptions) -> None:
    from mahavishnu_operator.client import Client
    from mahavishnu_operator.mcp_gateway.gateway import Gateway
    from mahavishnu_operator.mcp_gateway.server import serve_stdio

    async with Client.over(way, namespace=namespace) as client:
        await serve_stdio(Gateway(client, options))


async def _http(way: Way, namespace: str, options: GatewayOptions, entrance: Entrance) -> None:
    from prometheus_client import CollectorRegistry
    from starlette.applications import Starlette
    from starlette.middleware import Middleware

    from mahavishnu_operator.client import Client
    from mahavishnu_operator.control.serving import listen, serve
    from mahavishnu_operator.mcp_gateway.admitting import Admitting, Callers
    from mahavishnu_operator.mcp_gateway.gateway import Gateway
    from mahavishnu_operator.mcp_gateway.reviews import Reviews
    from mahavishnu_operator.mcp_gateway.server import mcp_routes, probe_routes
    from mahavishnu_operator.resources.kubernetes import KubernetesResources
    from mahavishnu_operator.resources.rest.guard import Guard
    from mahavishnu_operator.support.collecting import settle

    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    listener, registry = listen(entrance.host, entrance.port), CollectorRegistry()
    reviewing = entrance.auth is Auth.TOKEN_REVIEW
    token = None if reviewing else entrance.token or None
    guards = [Middleware(Guard, allowed_hosts=entrance.allowed_hosts, token=token, hint=HOW_TO_BE_LET_IN)]
    async with AsyncExitStack() as stack:
        resources = KubernetesResources(way.connection)
        stack.push_async_callback(resources.close)
        client = await stack.enter_async_context(Client(resources, way, namespace=namespace))
        gateway = Gateway(client, options, told_apart=reviewing)
        if reviewing:
            callers = Callers(client, Reviews(resources, entrance.audience), everywhere=options.all_namespaces)
            guards.append(Middleware(Admitting, callers=callers))
        routes = [*await stack.enter_async_context(mcp_routes(gateway, registry)), *probe_routes(gateway, registry)]
        served = Starlette(routes=routes, middleware=guards)
        async with serve(served, listener, certificate=entrance.certificate, key=entrance.key):
            where = f"{entrance.scheme}://{entrance.shown_host}:{listener.getsockname()[1]}/mcp"
            settle()
            say(f"serving agents on {where} for {way.connection.server}")
            await stopping.wait()
            say("stopping: work that was begun goes on")
            await gateway.stop()
