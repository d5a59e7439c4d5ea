"""Single workers: spawn some, give each its own command, look, collect, close. They are members of a reserved pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastmcp import FastMCP
from pydantic import Field

from mahavishnu_operator.api.reasons import JobPhase
from mahavishnu_operator.client import Job, Jobs
from mahavishnu_operator.client.workers import MOST, Held, Workers
from mahavishnu_operator.mcp_gateway.answering import ADDS, ENDS, READS, RUNS, add
from mahavishnu_operator.mcp_gateway.answers import (
    Batch,
    WorkerClosed,
    WorkerHealth,
    WorkerRan,
    WorkerRow,
    WorkersClosed,
    WorkersSpawned,
)
from mahavishnu_operator.mcp_gateway.arguments import Id
from mahavishnu_operator.mcp_gateway.gateway import Gateway
from mahavishnu_operator.mcp_gateway.on_workers import execute_on, find_worker, work_off, worker_row
from mahavishnu_operator.mcp_gateway.reading import inline_of_many, read_part
from mahavishnu_operator.mcp_gateway.running import outcome
from mahavishnu_operator.mcp_gateway.schemas import answer_of, list_of, mapping_of
from mahavishnu_operator.mcp_gateway.shapes import Shape
from mahavishnu_operator.mcp_gateway.spawning import allowed_commands
from mahavishnu_operator.mcp_gateway.telling import Progress
from mahavishnu_operator.mcp_gateway.worker_types import check_worker_type, note_on
from mahavishnu_operator.support.errors import InvalidInput, NotFound

WorkerId = Annotated[Id, Field(description="A worker as worker_spawn and worker_list name it: namespace/name.")]
WorkerIds = Annotated[list[Id], Field(max_length=MOST)]
Timeout = Annotated[
    float, Field(gt=0, le=3600, allow_inf_nan=False, description="Seconds until it is stopped, waiting included.")
]
Command = Annotated[str, Field(description="`Execute: <program> <arguments>`, run without a shell.")]


def register(server: FastMCP, gateway: Gateway) -> None:
    """Put the tools on a server."""
    tools = WorkerTools(gateway)
    add(server, tools.worker_spawn, ADDS, answer_of(WorkersSpawned))
    add(server, tools.worker_execute, RUNS, answer_of(WorkerRan))
    add(server, tools.worker_execute_batch, RUNS, answer_of(Batch))
    add(server, tools.worker_list, READS, list_of(WorkerRow))
    add(server, tools.worker_monitor, READS, mapping_of(None))
    add(server, tools.worker_collect_results, READS, mapping_of(WorkerRan))
    add(server, tools.worker_close, ENDS, answer_of(WorkerClosed))
    add(server, tools.worker_close_all, ENDS, answer_of(WorkersClosed))
    add(server, tools.worker_health, READS, answer_of(WorkerHealth))


class WorkerTools:
    """The tools, by the names that clients call."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    @property
    def _workers(self) -> Workers:
        return self._gateway.client.workers

    @property
    def _jobs(self) -> Jobs:
        return self._gateway.client.jobs

    async def worker_spawn(
        self,
        telling: Progress,
        worker_type: Annotated[
            str, Field(description="command: scanners and commands. AI worker types are not there yet.")
        ] = "terminal-qwen",
        count: Annotated[int, Field(ge=1, le=MOST, description="How many.")] = 1,
    ) -> Shape:
        """Start single workers that you hold until worker_close or an hour without work, and wait until they are ready.

        Use them to run commands side by side that you want to keep apart; for one command pool_execute is simpler.
        """
        kind = check_worker_type(worker_type)
        keys = await self._workers.spawn(
            count,
            worker_type=kind,
            allowed_commands=allowed_commands(self._gateway.options.allow),
            told=telling.of_pool,
        )
        note = note_on(kind)
        return {"worker_ids": [str(key) for key in keys], "success": True, **({"note": note} if note else {})}

    async def worker_execute(
        self, telling: Progress, worker_id: WorkerId, prompt: Command, timeout: Timeout = 300.0
    ) -> Shape:
        """Run one command on one worker and wait for its end; while it is busy the command waits."""
        worker = await find_worker(self._gateway, worker_id)
        return await execute_on(self._gateway, worker, prompt, timeout=timeout, told=telling.of_job)

    async def worker_execute_batch(
        self,
        telling: Progress,
        worker_ids: WorkerIds,
        prompts: Annotated[list[Command], Field(max_length=200)],
        timeout: Timeout = 300.0,
    ) -> Shape:
        """Run many commands on some workers, each worker one at a time; more prompts than workers wait their turn.

        The answer has each prompt's outcome under its number as text, and all rows in order under `result`.
        """
        if not worker_ids:
            raise InvalidInput("worker_ids is empty", hint="worker_spawn some first")
        workers = [await find_worker(self._gateway, each) for each in dict.fromkeys(worker_ids)]
        inline = inline_of_many(2 * len(prompts))  # each row is there twice
        ordered = await work_off(self._gateway, workers, prompts, timeout=timeout, inline=inline, told=telling.say)
        return {**{str(number): _batch_row(row) for number, row in enumerate(ordered)}, "result": ordered}

    async def worker_list(
        self,
        state: Annotated[str | None, Field(max_length=40, description="Only those with this status.")] = None,
        worker_id: Annotated[WorkerId | None, Field(description="Only this one.")] = None,
    ) -> list[Shape]:
        """List the workers that were spawned one by one, with the status of what they did last."""
        rows = await self._rows(await self._chosen([worker_id] if worker_id is not None else None))
        return [row for row in rows if state in (None, row["status"])]

    async def worker_monitor(
        self,
        worker_ids: Annotated[WorkerIds | None, Field(description="Some workers; left out: all.")] = None,
        interval: Annotated[float, Field(ge=0.1, le=10, description="Without effect: the answer is of now.")] = 1.0,
    ) -> Shape:
        """Say for each worker: pending (nothing to do), running, completed, failed, timeout or cancelled."""
        return {row["worker_id"]: row["status"] for row in await self._rows(await self._chosen(worker_ids))}

    async def worker_collect_results(
        self,
        worker_ids: Annotated[WorkerIds | None, Field(description="Some workers; left out: all.")] = None,
        since_offset: Annotated[
            int, Field(ge=0, le=2**40, description="Leave out bytes of stdout before this one.")
        ] = 0,
    ) -> Shape:
        """Read what each worker's latest command wrote and how it ended, or what it wrote until now."""
        jobs, chosen = await self._workers.jobs(), await self._chosen(worker_ids)
        inline = inline_of_many(len(chosen))
        return {
            str(held.key): await self._collected(
                held, _last(jobs.get(held.key.name, ())), since=since_offset, inline=inline
            )
            for held in chosen
        }

    async def worker_close(
        self,
        worker_id: WorkerId,
        force: Annotated[bool, Field(description="Also while it works: its command is cancelled.")] = False,
    ) -> Shape:
        """Let a worker of yours go. This cannot be undone; spawn another one when needed."""
        key = self._gateway.key(worker_id, what="worker_id")
        await self._workers.close(key, force=force)
        return {"success": True, "worker_id": str(key), "status": "closed"}

    async def worker_close_all(self) -> Shape:
        """Let all workers go that you spawned one by one; their commands are cancelled."""
        return {"closed_count": await self._workers.close_all(), "success": True}

    async def worker_health(self) -> Shape:
        """Say how many single workers there are and whether all are alive."""
        workers = await self._workers.list()
        alive = [held for held in workers if held.alive]
        rows = await self._rows(workers)
        status = "healthy" if len(alive) == len(workers) else "degraded" if alive else "unhealthy"
        return {"status": status, "workers_active": len(alive), "max_concurrent": MOST, "workers": rows}

    async def _chosen(self, worker_ids: Sequence[str] | None) -> Sequence[Held]:
        if worker_ids is None:
            return await self._workers.list()
        return [await self._workers.get(self._gateway.key(each, what="worker_id")) for each in worker_ids]

    async def _rows(self, workers: Sequence[Held]) -> list[Shape]:
        jobs = await self._workers.jobs()
        return [
            {
                "worker_id": str(held.key),
                "worker_type": held.worker_type,
                "status": await self._status(held, _last(jobs.get(held.key.name, ()))),
            }
            for held in workers
        ]

    async def _status(self, held: Held, job: Job | None) -> str:
        if not held.alive:
            return "failed"
        if job is None:
            return "pending"
        if not job.ended:
            return "running"
        if job.phase is JobPhase.SUCCEEDED:
            return "completed"
        return str((await outcome(self._gateway, job))["status"])

    async def _collected(self, held: Held, job: Job | None, *, since: int, inline: int) -> Shape:
        if job is None:
            return worker_row(held.key, {"status": "pending", "output": "", "error": None, "success": False})
        if job.ended:
            row = await outcome(self._gateway, job, since=since, inline=inline)
        else:
            row = {"status": "running", "task_id": str(job.key), "error": None, "success": False}
            try:
                part = await read_part(self._jobs, job, "stdout", since=since, inline=inline)
                row |= {"output": part.text, "next_offset": part.end}
            except NotFound:
                row |= {"output": "", "next_offset": since}  # it has not begun
        return worker_row(held.key, row)


def _last(jobs: Sequence[Job]) -> Job | None:
    """What a worker is at, or did last."""
    return next((job for job in jobs if not job.ended), jobs[-1] if jobs else None)


def _batch_row(row: Shape) -> Shape:
    errors = [row["error"]] if row.get("error") else []
    return {**row, "errors": errors, "files_modified": [], "fixes_applied": 0}
