"""Commands on single workers that somebody holds: one on one, or many worked off by some."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from mahavishnu_operator.api.reasons import Label
from mahavishnu_operator.client import command_spec
from mahavishnu_operator.client.following import Told
from mahavishnu_operator.client.workers import Held
from mahavishnu_operator.resources.protocol import Key
from mahavishnu_operator.support.errors import InvalidInput, MahavishnuError, NotFound

from .commands import argv_of, is_command
from .gateway import Gateway
from .reading import INLINE_BYTES
from .running import folder_of_command, run_command
from .shapes import Shape, failure
from .worker_types import AI_TYPES, NO_AI

Say = Callable[[str], Awaitable[None]]


async def find_worker(gateway: Gateway, worker_id: str) -> Held:
    """A held worker that is alive. NotFound: nobody holds it, or it is gone."""
    held = await gateway.client.workers.get(gateway.key(worker_id, what="worker_id"))
    if not held.alive:
        raise NotFound(
            f"worker {held.key} is gone: it has died, or had nothing to do for an hour",
            hint="worker_close it and worker_spawn another one",
        )
    return held


async def execute_on(
    gateway: Gateway,
    worker: Held,
    prompt: str,
    *,
    timeout: float,
    told: Told | None = None,
    inline: int = INLINE_BYTES,
) -> Shape:
    """Run a command on a worker and wait for its end."""
    if worker.worker_type in AI_TYPES and not is_command(prompt):
        raise InvalidInput(f"worker {worker.key} was asked for as {worker.worker_type}", hint=NO_AI)
    argv = argv_of(prompt)
    spec = command_spec(
        argv,
        routing={"pools": [gateway.client.workers.pool.name], "workerName": worker.key.name},
        path=folder_of_command(gateway, argv, backend=gateway.client.default_backend),
        timeout=timeout,
    )
    row = await run_command(
        gateway,
        spec,
        namespace=worker.key.namespace,
        timeout=timeout,
        told=told,
        notes={},
        labels={Label.WORKER.value: worker.key.name},
        inline=inline,
    )
    return worker_row(worker.key, row)


async def work_off(
    gateway: Gateway, workers: Sequence[Held], prompts: Sequence[str], *, timeout: float, inline: int, told: Say
) -> list[Shape]:
    """Run each command on whichever worker is free first, each worker one at a time; the rows, in order."""
    waiting = list(reversed(list(enumerate(prompts))))
    rows: dict[int, Shape] = {}

    async def use(worker: Held) -> None:
        while waiting:
            number, prompt = waiting.pop()
            rows[number] = await _try_on(gateway, worker, prompt, timeout=timeout, inline=inline)
            await told(f"{len(rows)} of {len(prompts)} commands done")

    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(use(worker))
    return [rows[number] for number in range(len(prompts))]


async def each_on_its_own(
    gateway: Gateway, workers: Sequence[Held], prompt: str, *, timeout: float, inline: int, told: Say
) -> list[Shape]:
    """Run one command on each of the workers, all at once; the rows, in their order."""
    rows: dict[Key, Shape] = {}

    async def use(worker: Held) -> None:
        rows[worker.key] = await _try_on(gateway, worker, prompt, timeout=timeout, inline=inline)
        await told(f"{len(rows)} of {len(workers)} workers done")

    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(use(worker))
    return [rows[worker.key] for worker in workers]


async def _try_on(gateway: Gateway, worker: Held, prompt: str, *, timeout: float, inline: int) -> Shape:
    try:
        return await execute_on(gateway, worker, prompt, timeout=timeout, inline=inline)
    except MahavishnuError as error:
        return failure(str(error), given={"worker_id": str(worker.key)})


def worker_row(key: Key, row: Shape) -> Shape:
    """What a worker's command came to, as worker_execute answers it."""
    duration = row.get("duration", 0.0)
    known = ("status", "success", "output", "error", "exit_code", "duration")
    rest = {name: value for name, value in row.items() if name not in (*known, "worker_id", "timestamp")}
    return {
        "worker_id": str(key),
        **{name: row.get(name) for name in known},
        "duration": duration,
        "duration_seconds": duration,
        "has_output": bool(row.get("output")),
        "timestamp": row.get("timestamp") or datetime.now(UTC).isoformat(timespec="seconds"),
        "metadata": rest,
    }
