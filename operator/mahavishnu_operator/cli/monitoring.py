"""How pools do: `pool monitor`, live on a terminal and as lines elsewhere, and `pool health`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mahavishnu_operator.support.errors import InvalidInput

from .exits import ExitCode
from .output import OutputFormat, as_table, show
from .placing import AllNamespacesOption, OutputOption, Where, command

if TYPE_CHECKING:
    from mahavishnu_operator.client import Client, Pool
    from mahavishnu_operator.resources.cache import Reflector
    from mahavishnu_operator.resources.protocol import Key

PoolsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[POOL]...", help="namespace/name, or bare names; default: all.")
]
HEADERS = ["POOL", "STATUS", "READY", "WANTED", "BUSY", "WAITING", "RUNNING", "DONE", "FAILED", "IDLE"]


def register(app: typer.Typer) -> None:
    """Put `monitor` and `health` on the group of pools."""
    command(app, "monitor")(monitor)
    command(app, "health")(health)


async def monitor(
    where: Where,
    pools: PoolsArgument = None,
    watch: Annotated[
        bool | None,
        typer.Option("--watch/--once", help="Go on until Ctrl-C, or print one answer; default: --watch on a terminal."),
    ] = None,
    all_namespaces: AllNamespacesOption = False,
    output: OutputOption = OutputFormat.TABLE,
) -> ExitCode:
    """Show how busy pools are: a table that follows them on a terminal, a line for each change elsewhere."""
    from mahavishnu_operator.mcp_gateway.remembering import count_answers
    from mahavishnu_operator.mcp_gateway.shapes import pool_measures

    if watch and output is not OutputFormat.TABLE:
        raise InvalidInput("--watch prints for people alone", hint="leave --output out, or say --once")
    async with where.gateway() as gateway:
        client = gateway.client
        if watch or (watch is None and output is OutputFormat.TABLE and sys.stdout.isatty()):
            return await _until_interrupted(
                _follow(client, None if all_namespaces else client.namespace, _keys(client, pools))
            )
        found = await _chosen(client, pools, all_namespaces=all_namespaces)
        remembered = await count_answers(gateway)
    measures = {str(pool.key): pool_measures(pool, remembered=remembered.get(str(pool.key), 0)) for pool in found}
    show(measures, output, _table(found))
    return ExitCode.OK


async def health(
    where: Where,
    pools: PoolsArgument = None,
    all_namespaces: AllNamespacesOption = False,
    output: OutputOption = OutputFormat.TABLE,
) -> ExitCode:
    """Say whether pools are healthy. Exit codes: 0 all are; 1 some are in trouble, or all."""
    from mahavishnu_operator.mcp_gateway.shapes import pools_health

    async with where.client() as client:
        found = await _chosen(client, pools, all_namespaces=all_namespaces)
    said = pools_health(found)
    lines = [[str(pool.key), pool.state.value, f"{pool.ready}/{pool.wanted}", pool.message] for pool in found]
    table = as_table(["POOL", "STATUS", "READY", "MESSAGE"], lines)
    show(said, output, f"{said['status']}\n\n{table}" if lines else str(said["status"]))
    return ExitCode.OK if said["status"] == "healthy" else ExitCode.FINDINGS


async def _chosen(client: Client, pools: Sequence[str] | None, *, all_namespaces: bool) -> Sequence[Pool]:
    if pools:
        return [await client.pools.get(key) for key in _keys(client, pools)]
    return await client.pools.list(namespace=None if all_namespaces else "")


def _keys(client: Client, pools: Sequence[str] | None) -> Sequence[Key]:
    from mahavishnu_operator.client import parse_id

    return [parse_id(each, namespace=client.namespace, what="pool") for each in pools or ()]


async def _until_interrupted(work: Coroutine[Any, Any, None]) -> ExitCode:
    """Until a signal, after which the terminal is as it was before."""
    from .following import unless_interrupted
    from .outcome import exit_code_of_signal, listen_for_signals

    _, interrupt = await unless_interrupted(work, listen_for_signals())
    return exit_code_of_signal(interrupt) if interrupt is not None else ExitCode.OK


async def _follow(client: Client, namespace: str | None, keys: Sequence[Key]) -> None:
    """Until a signal. What is named in another namespace is followed there."""
    spaces: set[str | None] = {key.namespace for key in keys} or {namespace}
    changed = asyncio.Event()
    async with _watching(client, None if len(spaces) > 1 else next(iter(spaces)), changed) as reflector:
        if sys.stdout.isatty():
            await _redraw(reflector, keys, changed)
        else:
            await _print_changes(reflector, keys, changed)


@asynccontextmanager
async def _watching(client: Client, namespace: str | None, changed: asyncio.Event) -> AsyncIterator[Reflector]:
    from mahavishnu_operator.resources.cache import Reflector
    from mahavishnu_operator.resources.protocol import WORKER_POOL

    await client.pools.list(namespace=namespace)  # a server that is not there is said at once
    reflector = Reflector(client.resources, WORKER_POOL, namespace=namespace, on_change=lambda _: changed.set())
    running = asyncio.create_task(reflector.run())
    try:
        await reflector.synced.wait()
        yield reflector
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def _redraw(reflector: Reflector, keys: Sequence[Key], changed: asyncio.Event) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        while True:
            changed.clear()
            live.update(Text(_table(_held(reflector, keys)), no_wrap=True, overflow="crop"), refresh=True)
            await changed.wait()


async def _print_changes(reflector: Reflector, keys: Sequence[Key], changed: asyncio.Event) -> None:
    said: dict[Key, str] = {}
    while True:
        changed.clear()
        now = {pool.key: _line(pool) for pool in _held(reflector, keys)}
        for key, line in now.items():
            if line != said.get(key):
                print(line, flush=True)
        for key in said.keys() - now.keys():
            print(f"{key} closed", flush=True)
        said = now
        await changed.wait()


def _held(reflector: Reflector, keys: Sequence[Key]) -> Sequence[Pool]:
    from mahavishnu_operator.client import Pool
    from mahavishnu_operator.client.pools import MEMORY

    pools = (Pool.of(obj) for obj in reflector.store.values())
    wanted = (pool for pool in pools if (pool.key in keys if keys else pool.key.name != MEMORY))
    return sorted(wanted, key=lambda pool: pool.key)


def _table(pools: Sequence[Pool]) -> str:
    lines = [
        [
            str(pool.key),
            pool.state.value,
            *(str(each) for each in (pool.ready, pool.wanted, pool.busy, pool.pending_tasks, pool.running_tasks)),
            *(str(each) for each in (pool.completed, pool.failed)),
            f"{pool.idle_seconds():.0f}s",
        ]
        for pool in pools
    ]
    return as_table(HEADERS, lines)


def _line(pool: Pool) -> str:
    return (
        f"{pool.key} {pool.state.value}: {pool.ready} of {pool.wanted} workers ready, {pool.busy} busy; tasks:"
        f" {pool.pending_tasks} waiting, {pool.running_tasks} running, {pool.completed} done, {pool.failed} failed"
    )
