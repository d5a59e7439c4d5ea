"""workers: single workers from the shell, held until they are closed. They are members of one reserved pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mahavishnu_operator.support.errors import InvalidInput, MahavishnuError

from .executing import INLINE_BYTES, TimeoutOption, code_of, show_streams, summary, to_its_end
from .exits import ExitCode
from .gateways import AllowOption
from .output import OutputFormat, as_table, say, show
from .placing import LongNamespaceOption, OutputOption, Where, command
from .several import do_each

if TYPE_CHECKING:
    from mahavishnu_operator.client.workers import Held
    from mahavishnu_operator.mcp_gateway.gateway import Gateway
    from mahavishnu_operator.resources.protocol import Key

MOST = 50
TypeOption = Annotated[str, typer.Option("--type", "-t", help="command; AI workers are not there yet.")]
CountOption = Annotated[int, typer.Option("--count", "-n", min=1, max=MOST, help="How many.")]
WorkersArgument = Annotated[list[str] | None, typer.Argument(metavar="[WORKER]...", help="As `workers list` has them.")]

app = typer.Typer(help="Single workers: spawn some and keep them, or for one run.", no_args_is_help=True)


@command(app, "spawn", namespace=LongNamespaceOption)
async def spawn(
    where: Where,
    type_: TypeOption = "command",
    count: CountOption = 1,
    allow: AllowOption = None,
    timeout: Annotated[
        float,
        typer.Option("--timeout", "-T", min=1.0, metavar="SECONDS", help="How long to wait until they are ready."),
    ] = 60.0,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Start workers that you hold until `workers close`, and wait until they are ready."""
    async with where.gateway(allow=tuple(allow or ())) as gateway:
        keys = await _spawn(gateway, type_, count, timeout)
    show({"worker_ids": [str(key) for key in keys]}, output, "\n".join(map(str, keys)))


@command(app, "execute", looks=True, namespace=LongNamespaceOption)
async def execute(
    where: Where,
    prompt: Annotated[
        list[str], typer.Option("--prompt", "-p", help="A command, without a shell; several (repeat) are worked off.")
    ],
    type_: TypeOption = "command",
    count: CountOption = 1,
    worker: Annotated[
        list[str] | None, typer.Option("--worker", metavar="WORKER", help="On these that you hold (repeat).")
    ] = None,
    allow: AllowOption = None,
    timeout: TimeoutOption = 300.0,
    output: OutputOption = OutputFormat.TABLE,
) -> ExitCode:
    """Run commands on workers: on COUNT that are spawned for it and closed again, or on --worker.

    One command is run by each of the workers; several are worked off by all. Exit codes: 0 all succeeded; 1 some failed
    by their own exit code; 3 some did not run to their end.
    """
    if worker and count != 1:
        raise InvalidInput("--worker and --count do not go together", hint="name the workers, or say how many")
    async with where.gateway(allow=tuple(allow or ())) as gateway:
        rows: list[dict[str, Any]] = await to_its_end(_execute(gateway, prompt, worker, type_, count, timeout))
    if output is not OutputFormat.TABLE:
        show({"result": rows}, output, "")
    else:
        for number, row in enumerate(rows):
            if len(rows) > 1:
                print(f"==> {number}: {row.get('worker_id')} <==", flush=True)
            show_streams(row)
            say(summary(row))
    return code_of(rows)


@command(app, "list", namespace=LongNamespaceOption)
async def list_workers(where: Where, output: OutputOption = OutputFormat.TABLE) -> None:
    """List the workers that somebody holds."""
    async with where.client() as client:
        held, jobs = await client.workers.list(), await client.workers.jobs()
    rows = [
        {
            "worker_id": str(each.key),
            "worker_type": each.worker_type,
            "holder": each.holder,
            "alive": each.alive,
            "busy": any(not job.ended for job in jobs.get(each.key.name, ())),
        }
        for each in held
    ]
    if not rows and output is OutputFormat.TABLE:
        say("nobody holds a worker")
        return
    lines = [
        [row["worker_id"], row["worker_type"], row["holder"], "gone" if not row["alive"] else _busy(row)]
        for row in rows
    ]
    show(rows, output, as_table(["WORKER", "TYPE", "HOLDER", "STATE"], [list(map(str, line)) for line in lines]))


@command(app, "close", namespace=LongNamespaceOption)
async def close(
    where: Where,
    workers: WorkersArgument = None,
    all_: Annotated[bool, typer.Option("--all", help="All that you hold; their commands are cancelled.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also while it works: its command is cancelled.")] = False,
    output: OutputOption = OutputFormat.TABLE,
) -> ExitCode:
    """Let workers go. Exit code 1: some are not."""
    from mahavishnu_operator.client import parse_id

    if bool(workers) == all_:
        raise InvalidInput("say which workers", hint="name them, or say --all")
    kept: dict[Key, MahavishnuError] = {}
    async with where.client() as client:
        if all_:
            number = await client.workers.close_all()
        else:
            keys = [parse_id(each, namespace=client.namespace, what="worker") for each in workers or ()]
            done, kept = await do_each(keys, lambda key: client.workers.close(key, force=force))
            number = len(done)
    why = {str(key): str(error) for key, error in kept.items()}
    show({"closed_count": number, "kept": why}, output, f"{number} closed")
    for words in why.values():
        say(f"not closed: {words}")
    return ExitCode.FINDINGS if kept else ExitCode.OK


async def _spawn(gateway: Gateway, type_: str, count: int, timeout: float) -> Sequence[Key]:
    from mahavishnu_operator.mcp_gateway.spawning import allowed_commands
    from mahavishnu_operator.mcp_gateway.worker_types import check_worker_type, note_on

    kind = check_worker_type(type_)
    if note := note_on(kind):
        say(note)
    allowed = allowed_commands(gateway.options.allow)
    return await gateway.client.workers.spawn(count, worker_type=kind, allowed_commands=allowed, timeout=timeout)


async def _execute(
    gateway: Gateway, prompts: Sequence[str], workers: Sequence[str] | None, type_: str, count: int, timeout: float
) -> list[dict[str, Any]]:
    """The rows. Workers that were spawned for it are closed whatever happens."""
    from mahavishnu_operator.mcp_gateway.commands import argv_of
    from mahavishnu_operator.mcp_gateway.on_workers import find_worker

    for prompt in prompts:
        argv_of(prompt)  # what is no command is said before anything is started
    if workers:
        return await _work_off(gateway, prompts, [await find_worker(gateway, each) for each in workers], timeout)
    keys = await _spawn(gateway, type_, count, timeout)
    try:
        return await _work_off(gateway, prompts, [await gateway.client.workers.get(key) for key in keys], timeout)
    finally:
        for key in keys:
            await gateway.client.workers.close(key, force=True)


async def _work_off(
    gateway: Gateway, prompts: Sequence[str], workers: Sequence[Held], timeout: float
) -> list[dict[str, Any]]:
    from mahavishnu_operator.mcp_gateway.on_workers import each_on_its_own, work_off

    async def told(words: str) -> None:
        say(words)

    if len(prompts) == 1:
        return await each_on_its_own(gateway, workers, prompts[0], timeout=timeout, inline=INLINE_BYTES, told=told)
    return await work_off(gateway, workers, prompts, timeout=timeout, inline=INLINE_BYTES, told=told)


def _busy(row: dict[str, Any]) -> str:
    return "busy" if row["busy"] else "ready"
