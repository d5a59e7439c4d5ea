"""The store under test: SQLite here, PostgreSQL in tests/integration/store; no test knows which it has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from mahavishnu_operator.api.reasons import FailureClass
from mahavishnu_operator.api.wire import TaskSpec
from mahavishnu_operator.store.protocol import Store
from mahavishnu_operator.store.records import (
    AttemptEnd,
    GrantRecord,
    JobRecord,
    Recorded,
    ResultRecord,
    TaskKey,
    TaskRecord,
    TaskState,
)
from mahavishnu_operator.store.sqlite import SqliteStore

JOB = JobRecord(uid="u1", namespace="ns", name="job", pool="ns/pool")


def key(task: str = "t0", job: str = "u1") -> TaskKey:
    return TaskKey(job, task)


def lost(task: str = "t0", *, attempt: int = 1, requeue: bool = True) -> AttemptEnd:
    return AttemptEnd(key(task), attempt, FailureClass.WORKER_LOST, "WorkerLost", "gone", requeue, 3.0)


class Clock:
    """The machine's clock, moved ahead where a test wants hours to pass."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


class Holder:
    """A store and the epoch that its user holds, with the steps that most tests begin with."""

    _make: Callable[[Clock], Store]

    def __init__(self, store: Store, epoch: int, clock: Clock) -> None:
        self.store, self.epoch, self.clock = store, epoch, clock

    @classmethod
    async def open(cls, make: Callable[[Clock], Store], clock: Clock | None = None) -> Holder:
        """A holder of the store that `make` opens."""
        clock = clock or Clock()
        store = await asyncio.to_thread(make, clock)
        holder = cls(store, await store.take_epoch("tests"), clock)
        holder._make = make
        return holder

    async def reopened(self) -> Holder:
        """The same store closed and opened again, with the same clock."""
        await self.store.close()
        return await self.open(self._make, self.clock)

    async def add(self, *tasks: str, job: JobRecord = JOB) -> None:
        records = [TaskRecord(TaskKey(job.uid, task), number, b"{}") for number, task in enumerate(tasks)]
        await self.store.add_job(self.epoch, job, records)

    async def add_spec(self, task: str, spec: TaskSpec, *, job: JobRecord = JOB) -> None:
        await self.store.add_job(self.epoch, job, [TaskRecord(TaskKey(job.uid, task), 0, msgspec.json.encode(spec))])

    async def lose(self, task: str, *, attempt: int = 1, requeue: bool = True) -> None:
        await self.store.end_attempts(self.epoch, [lost(task, attempt=attempt, requeue=requeue)])

    async def grant(self, *tasks: str, attempt: int = 1) -> None:
        await self.store.record_grants(
            self.epoch, [GrantRecord(key(task), attempt, self.epoch, "ns/pool/w", 1.0, 15.0) for task in tasks]
        )

    async def deliver(self, *tasks: str, attempt: int = 1) -> Sequence[Recorded]:
        results = [ResultRecord(key(task), attempt, TaskState.SUCCEEDED, b'{"a":1}', 2.0) for task in tasks]
        return await self.store.record_results(self.epoch, results)

    async def states(self, uid: str = "u1") -> dict[str, TaskState]:
        return {record.key.task: record.state for record in await self.store.tasks(uid)}


@pytest.fixture
async def held(tmp_path: Path) -> AsyncIterator[Holder]:
    held = await Holder.open(lambda clock: SqliteStore(tmp_path / "store", clock=clock))
    yield held
    await held.store.close()
