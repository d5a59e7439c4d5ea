"""Where a command acts: one set of options for all commands on pools, workers and jobs, and the client they make.

The pressure: a dozen commands that each name server, namespace and dispatcher in their own way would soon differ. What
must stay true: an address that was given wins over a kubeconfig; without any of both it is the `mahavishnu up` of this
machine, or, as `kubectl mahavishnu`, the cluster that kubectl means; an error ends each command in the same words.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from .exits import ExitCode, looking
from .output import OutputFormat, say
from .server import (
    ContextOption,
    DispatcherCaOption,
    DispatcherUrlOption,
    KubeconfigOption,
    ServerOption,
)

if TYPE_CHECKING:
    from mahavishnu_operator.client import Client
    from mahavishnu_operator.client.door import Way
    from mahavishnu_operator.mcp_gateway.gateway import Gateway
    from mahavishnu_operator.resources.connection import Connection

Command = TypeVar("Command", bound=Callable[..., Coroutine[Any, Any, ExitCode | None]])  # its first parameter: Where
NAMESPACE_HELP = "Namespace of bare names; default: the credentials' own, else default."
NamespaceOption = Annotated[str | None, typer.Option("--namespace", "-n", help=NAMESPACE_HELP)]
LongNamespaceOption = Annotated[str | None, typer.Option("--namespace", help=NAMESPACE_HELP)]
OutputOption = Annotated[OutputFormat, typer.Option("--output", "-o", help="How to print it.")]
AllNamespacesOption = Annotated[bool, typer.Option("--all-namespaces", "-A", help="From all namespaces.")]
MineOption = Annotated[bool, typer.Option("--mine", help="Only those that you made by client or gateway.")]
_OPTIONS = {
    "server": ServerOption,
    "kubeconfig": KubeconfigOption,
    "context": ContextOption,
    "dispatcher_url": DispatcherUrlOption,
    "dispatcher_ca": DispatcherCaOption,
}


@dataclass(frozen=True)
class Where:
    """What was said on the command line about where to act."""

    namespace: str | None
    server: str | None
    kubeconfig: Path | None
    context: str | None
    dispatcher_url: str | None
    dispatcher_ca: Path | None

    async def way(self) -> Way:
        """How the installation is reached."""
        from mahavishnu_operator.client.door import Way

        from .server import find_address, find_server

        url = find_address(self.server, kubeconfig=self.kubeconfig, context=self.context)
        connection, embedded = find_server(url, kubeconfig=self.kubeconfig, context=self.context)
        embedded = embedded or (self.dispatcher_url is None and await _is_up(connection))
        return Way(connection, embedded, self.dispatcher_url, self.dispatcher_ca)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """A client of it, closed at the end."""
        from mahavishnu_operator.client import Client

        way = await self.way()
        async with Client.over(way, namespace=self.namespace or way.connection.namespace or "default") as client:
            yield client

    @asynccontextmanager
    async def gateway(self, *, workspace: Path | None = None, allow: tuple[str, ...] = ()) -> AsyncIterator[Gateway]:
        """What the gateway's tools stand on, without a server: a command means the same here and there.

        `workspace`: the folder that commands of local workers run in; default: the current one.
        """
        from mahavishnu_operator.mcp_gateway.gateway import Gateway, GatewayOptions

        async with self.client() as client:
            gateway = Gateway(client, GatewayOptions((workspace or Path.cwd()).resolve(), allow, all_namespaces=True))
            try:
                yield gateway
            finally:
                await gateway.stop()


def say_there_are_none(what: str, namespace: str, *, everywhere: bool) -> None:
    """What a person reads in place of an empty table."""
    say(f"no {what} in {'any namespace' if everywhere else f'namespace {namespace}'}")


def command(
    app: typer.Typer, name: str, *, looks: bool = False, namespace: Any = NamespaceOption
) -> Callable[[Command], Command]:
    """Put a command on an application, with the options of `Where` after its own.

    `looks`: exit code 1 is an answer of its own (findings, a command that failed), so an error is 3.
    """

    def register(function: Command) -> Command:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        place = [
            inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
            for each, option in {"namespace": namespace, **_OPTIONS}.items()
        ]

        @functools.wraps(function)
        def call(**given: Any) -> None:
            where = Where(**{each.name: given.pop(each.name) for each in place})
            _quiet()
            with looking() if looks else nullcontext():
                sys.exit(asyncio.run(function(where, **given)) or ExitCode.OK)

        parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own] + place
        call.__dict__.pop("__wrapped__")
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {each.name: each.annotation for each in parameters}
        app.command(name)(call)
        return function

    return register


async def _is_up(connection: Connection) -> bool:
    """Whether a kubeconfig leads to a `mahavishnu up`, which is its own dispatcher."""
    from mahavishnu_operator.resources.http import ApiSession
    from mahavishnu_operator.resources.protocol import OUR_BUILD, Forbidden
    from mahavishnu_operator.support.errors import NotFound

    session = ApiSession(connection)
    try:
        said = await session.call("GET", "/version")
    except (Forbidden, NotFound):  # a cluster's server may keep its version to itself; ours does not
        return False
    finally:
        await session.close()
    return OUR_BUILD in str(said.get("gitVersion", ""))


def _quiet() -> None:
    """Warnings of the machinery are for servers; a person is told what came of it."""
    from mahavishnu_operator.support.logs import configure_logging

    from .settings import load_settings

    level = load_settings().log_level
    configure_logging(level="error" if level == "info" else level)
