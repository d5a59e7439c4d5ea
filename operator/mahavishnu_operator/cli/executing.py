"""One command in a pool, waited for: what `pool execute`, `pool route` and `workers execute` print and answer.

What must stay true: the command's own output goes where it would have gone here, stdout and stderr apart; who presses
Ctrl-C leaves no work behind; a command that failed and one that never ran are different exit codes.
"""

from __future__ import annotations

import sys
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from mahavishnu_operator.support.text import printable

from .exits import ExitCode
from .output import OutputFormat, dump, say
from .placing import OutputOption, Where
from .placing import command as placed

if TYPE_CHECKING:
    from mahavishnu_operator.client import Pool
    from mahavishnu_operator.mcp_gateway.gateway import Gateway
    from mahavishnu_operator.resources.protocol import Obj

INLINE_BYTES = 256 * 1024 * 1024  # more than any command may write: nothing is left out
PromptOption = Annotated[
    str,
    typer.Option("--prompt", "-p", help="The command, in the words of a shell; none is run: no pipes, no variables."),
]
TimeoutOption = Annotated[
    float,
    typer.Option("--timeout", "-T", min=1.0, metavar="SECONDS", help="When it is stopped, waiting included."),
]


def register(app: typer.Typer) -> None:
    """Put `execute` and `route` on the group of pools."""
    placed(app, "execute", looks=True)(execute)
    placed(app, "route", looks=True)(route)


async def execute(
    where: Where,
    pool: Annotated[str, typer.Argument(metavar="POOL", help="namespace/name, or a bare name.")],
    prompt: PromptOption,
    timeout: TimeoutOption = 300.0,
    output: OutputOption = OutputFormat.TABLE,
) -> ExitCode:
    """Run one command on a worker of a pool, in this folder where the workers are local, and wait for its end.

    Exit codes: 0 it succeeded; 1 it failed by its own exit code; 3 it did not run to its end.
    """
    async with where.gateway() as gateway:
        chosen = await gateway.client.pools.get(gateway.key(pool, what="pool"))
        row = await _run(gateway, prompt, pool=chosen, routing=None, timeout=timeout)
    return show_run(row, output)


async def route(
    where: Where,
    prompt: PromptOption,
    selector: Annotated[
        str, typer.Option("--selector", help="least_loaded, round_robin, random or affinity.")
    ] = "least_loaded",
    pool: Annotated[
        list[str] | None, typer.Option("--pool", metavar="POOL", help="One of these alone (repeat).")
    ] = None,
    affinity_key: Annotated[
        str | None, typer.Option("--affinity-key", help="With affinity: the same key, the same pool.")
    ] = None,
    timeout: TimeoutOption = 300.0,
    output: OutputOption = OutputFormat.TABLE,
) -> ExitCode:
    """Run one command on whichever pool is best placed; exit codes are those of `pool execute`."""
    from mahavishnu_operator.mcp_gateway.routing import routing_of, shared_only

    async with where.gateway() as gateway:
        keys = [gateway.key(each, what="pool") for each in pool] if pool else None
        routing = await shared_only(gateway.client, routing_of(selector, pools=keys, affinity_key=affinity_key))
        row = await _run(gateway, prompt, pool=None, routing=routing, timeout=timeout)
    return show_run(row, output)


async def _run(
    gateway: Gateway, prompt: str, *, pool: Pool | None, routing: Obj | None, timeout: float
) -> dict[str, Any]:
    from mahavishnu_operator.mcp_gateway.running import command_of, run_command, spec_of_command

    spec = spec_of_command(gateway, command_of(prompt, pool), pool=pool, routing=routing, timeout=timeout)
    row: dict[str, Any] = await to_its_end(
        run_command(
            gateway,
            spec,
            namespace=pool.key.namespace if pool is not None else gateway.client.namespace,
            timeout=timeout,
            told=Waiting(),
            notes={},
            inline=INLINE_BYTES,
        )
    )
    return row


async def to_its_end(work: Coroutine[Any, Any, Any]) -> Any:
    """What it comes to; at Ctrl-C it is cancelled, with its jobs, and the program leaves."""
    from .following import unless_interrupted
    from .outcome import exit_code_of_signal, listen_for_signals

    done, interrupt = await unless_interrupted(work, listen_for_signals())
    if interrupt is not None:
        say("interrupted: the command is cancelled")
        sys.exit(exit_code_of_signal(interrupt))
    return done


class Waiting:
    """Says why a job waits, where that is not its ordinary course; each reason once."""

    def __init__(self) -> None:
        self._said = ""

    async def __call__(self, obj: Obj) -> None:
        from .following import why_it_waits

        words = why_it_waits(obj)
        if words and words != self._said:
            say(f"waiting: {words}")
        self._said = words


def show_run(row: dict[str, Any], output: OutputFormat) -> ExitCode:
    """Print what a command came to; the exit code."""
    if output is not OutputFormat.TABLE:
        print(dump(row, output))
    else:
        show_streams(row)
        say(summary(row))
    return code_of([row])


def show_streams(row: dict[str, Any]) -> None:
    """What it wrote, where it would have gone here."""
    _write(str(row.get("output") or ""), sys.stdout)
    _write(str(row.get("stderr") or (row.get("metadata") or {}).get("stderr") or ""), sys.stderr)


def summary(row: dict[str, Any]) -> str:
    """One line on how it ended."""
    metadata = row.get("metadata") or {}
    where = row.get("worker_id") or row.get("pool_id") or "no worker"
    task = row.get("task_id") or metadata.get("task_id")
    ended = f"{row['status']} on {where}"
    if row.get("exit_code") is not None:
        return f"{ended}: exit code {row['exit_code']} after {row['duration']:.1f} s ({task})"
    return f"{ended}: {row.get('error') or 'it did not run'}" + (f" ({task})" if task else "")


def code_of(rows: Sequence[dict[str, Any]]) -> ExitCode:
    """0: all succeeded; 3: some did not run to their end; 1: all did, and some failed."""
    if all(row.get("success") for row in rows):
        return ExitCode.OK
    ran = all(row["status"] in ("completed", "failed") and row.get("exit_code") is not None for row in rows)
    return ExitCode.FINDINGS if ran else ExitCode.INCOMPLETE


def _write(text: str, stream: TextIO) -> None:
    """As it is into a pipe; on a terminal, which obeys what it is sent, without control characters."""
    if stream.isatty():
        text = "".join(each if each in "\n\t" else printable(each) for each in text)
    stream.write(text)
    stream.flush()
