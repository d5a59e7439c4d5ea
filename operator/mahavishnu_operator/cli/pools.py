"""pool: WorkerPools from the shell. State is in the resources: a pool spawned here is listed in any other shell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from mahavishnu_operator.support.errors import InvalidInput

from .exits import ExitCode
from .gateways import AllowOption
from .output import OutputFormat, as_table, say, show
from .placing import AllNamespacesOption, MineOption, OutputOption, Where, command, say_there_are_none
from .several import do_each

if TYPE_CHECKING:
    from mahavishnu_operator.client import Pool
    from mahavishnu_operator.resources.protocol import Obj

app = typer.Typer(help="Pools of workers: spawn, look, run commands, scale, close.", no_args_is_help=True)

PoolArgument = Annotated[str, typer.Argument(metavar="POOL", help="namespace/name, or a bare name.")]
ReadyOption = Annotated[
    float, typer.Option("--timeout", "-T", min=0.0, metavar="SECONDS", help="How long to wait until workers are ready.")
]


@command(app, "spawn")
async def spawn(
    where: Where,
    name: Annotated[str, typer.Option("--name", help="Its name; your own pool of that name is changed.")] = "default",
    type_: Annotated[
        str, typer.Option("--type", "-t", help="mahavishnu (the installation's own way) or kubernetes.")
    ] = "mahavishnu",
    least: Annotated[int, typer.Option("--min", "--min-workers", min=0, help="Workers it always has.")] = 1,
    most: Annotated[int, typer.Option("--max", "--max-workers", min=0, help="Workers it may have at most.")] = 10,
    worker_type: Annotated[
        str, typer.Option("--worker-type", help="command; AI workers are not there yet.")
    ] = "command",
    auto_scale: Annotated[bool, typer.Option("--auto-scale", help="Follow the queue between min and max.")] = False,
    allow: AllowOption = None,
    timeout: ReadyOption = 30.0,
    output: OutputOption = OutputFormat.TABLE,
) -> ExitCode:
    """Start a pool and wait for its workers, or change the settings of your own one of that name.

    Exit code 3: it is there, and its workers were not ready in time.
    """
    from mahavishnu_operator.mcp_gateway.spawning import spawn_pool

    async with where.gateway(allow=tuple(allow or ())) as gateway:
        pool = await spawn_pool(
            gateway,
            pool_type=type_,
            worker_type=worker_type,
            name=name,
            min_workers=least,
            max_workers=most,
            auto_scale=auto_scale,
            timeout=timeout,
            told=_Telling(),
        )
    print_pools([pool], output)
    return _ready(pool, pool.wanted, pool.settled, timeout)


@command(app, "list")
async def list_pools(
    where: Where,
    all_namespaces: AllNamespacesOption = False,
    mine: MineOption = False,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """List pools."""
    async with where.client() as client:
        pools = await client.pools.list(namespace=None if all_namespaces else "", mine=mine)
        space = client.namespace
    if not pools and output is OutputFormat.TABLE:
        say_there_are_none("pools", space, everywhere=all_namespaces)
        return
    print_pools(pools, output)


@command(app, "scale")
async def scale(
    where: Where,
    pool: PoolArgument,
    target: Annotated[int, typer.Option("--target", "-t", min=0, help="How many workers there shall be.")],
    timeout: ReadyOption = 30.0,
    output: OutputOption = OutputFormat.TABLE,
) -> ExitCode:
    """Change how many workers a pool has, within its range; busy ones finish first. Exit code 3: not in time."""
    from mahavishnu_operator.client import parse_id

    async with where.client() as client:
        key = parse_id(pool, namespace=client.namespace, what="pool")
        now = await client.pools.scale(key, target, timeout=timeout, told=_Telling())
    print_pools([now], output)
    return _ready(now, target, now.ready == target, timeout)


@command(app, "close")
async def close(
    where: Where,
    pools: Annotated[
        list[str] | None, typer.Argument(metavar="[POOL]...", help="namespace/name, or bare names.")
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="All of the namespace that you made, but what a manifest declares.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Also when others made it or have work in it.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", "-T", min=0.0, metavar="SECONDS", help="How long its work may still take.")
    ] = 60.0,
    output: OutputOption = OutputFormat.TABLE,
) -> ExitCode:
    """Close pools: their work ends first, then their workers stop, and they are gone. Exit code 1: some are not."""
    from mahavishnu_operator.client import parse_id

    if bool(pools) == all_:
        raise InvalidInput("say which pools", hint="name them, or say --all")
    if all_ and force:
        raise InvalidInput("--all and --force do not go together", hint="name the pools that are to be closed by force")
    async with where.client() as client:
        if all_:
            closed, refused = await client.pools.close_all()
            kept = {str(key): words for key, words in refused.items()}
        else:
            keys = [parse_id(each, namespace=client.namespace, what="pool") for each in pools or ()]
            done, errors = await do_each(keys, lambda key: client.pools.close(key, force=force, timeout=timeout))
            closed, kept = list(done), {str(key): str(error) for key, error in errors.items()}
    rows = [{"pool_id": str(key), "status": "closed"} for key in closed]
    if closed or not kept or output is not OutputFormat.TABLE:
        table = "\n".join(f"pool {key} closed" for key in closed) or "no pool to close"
        show({"closed": rows, "kept": kept}, output, table)
    for words in kept.values():
        say(f"not closed: {words}")
    return ExitCode.FINDINGS if kept else ExitCode.OK


def print_pools(pools: Sequence[Pool], output: OutputFormat) -> None:
    """Rows of pools; for programs those that pool_list answers."""
    from mahavishnu_operator.mcp_gateway.shapes import pool_row

    rows = [pool_row(pool) for pool in pools]
    show(rows, output, pools_table(pools))


def pools_table(pools: Sequence[Pool]) -> str:
    """How pools stand, for people."""
    headers = ["POOL", "TYPE", "STATUS", "READY", "MIN", "MAX", "BUSY", "WAITING", "RUNNING", "DONE", "FAILED"]
    lines = [
        [
            str(pool.key),
            pool.backend,
            pool.state.value,
            *(str(each) for each in (pool.ready, pool.min_workers, pool.max_workers, pool.busy)),
            *(str(each) for each in (pool.pending_tasks, pool.running_tasks, pool.completed, pool.failed)),
        ]
        for pool in pools
    ]
    return as_table(headers, lines)


class _Telling:
    """Says each change of a pool that is waited for."""

    def __init__(self) -> None:
        self._said = ""

    async def __call__(self, obj: Obj) -> None:
        from mahavishnu_operator.client import Pool

        pool = Pool.of(obj)
        words = f"{pool.ready} of {pool.wanted} workers ready"
        if words != self._said:
            say(words)
        self._said = words


def _ready(pool: Pool, wanted: int, reached: bool, timeout: float) -> ExitCode:
    if reached:
        return ExitCode.OK
    say(f"{pool.ready} of {wanted} workers are ready after {timeout:g} s: {pool.message}")
    say(f"hint: the pool is there: mahavishnu pool monitor {pool.key}, or pool close {pool.key}")
    return ExitCode.INCOMPLETE
