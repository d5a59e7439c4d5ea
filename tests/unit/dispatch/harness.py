"""What tests of the dispatcher share: records, a worker without HTTP, waiting for a state, comparing with the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from mahavishnu_operator.api.wire import (
    CommandTask,
    Hold,
    LeaseRequest,
    NoopTask,
    Receipt,
    RegisterRequest,
    ResultsRequest,
    ResultStatus,
    TaskResult,
    TaskSpec,
)
from mahavishnu_operator.dispatch.dispatcher import Dispatcher
from mahavishnu_operator.dispatch.ledger import Task
from mahavishnu_operator.dispatch.workers import Worker
from mahavishnu_operator.store.protocol import StoreFull
from mahavishnu_operator.store.records import (
    AttemptEnd,
    GrantRecord,
    JobRecord,
    JobState,
    Recorded,
    ResultRecord,
    TaskKey,
    TaskRecord,
    TaskState,
)
from mahavishnu_operator.store.sqlite import SqliteStore

POOL = "default/pool"
COMMAND = CommandTask(argv=("true",))


def job(uid: str = "job-1", *, pool: str = POOL, **fields: object) -> JobRecord:
    return JobRecord(uid=uid, namespace="default", name=uid, pool=pool, **fields)  # type: ignore[arg-type]


def tasks(uid: str = "job-1", count: int = 1, *, spec: TaskSpec | None = None, begin: int = 0) -> list[TaskRecord]:
    body = msgspec.json.encode(NoopTask() if spec is None else spec)
    return [TaskRecord(TaskKey(uid, f"t{n}"), n, body) for n in range(begin, begin + count)]


@dataclass
class Agent:
    """A worker that calls the desk directly."""

    dispatcher: Dispatcher
    name: str = "w1"
    pool: str = POOL
    slots: int = 1
    incarnation: str = "first"
    token: str = ""
    protocol: int = 1
    worker: Worker = field(init=False)

    async def register(self, holds: Sequence[Hold] = ()) -> Agent:
        desk = self.dispatcher.desk
        self.token = self.token or await self.dispatcher.issue_token(pool=self.pool, worker=self.name)
        request = RegisterRequest(self.protocol, self.pool, self.name, self.incarnation, self.slots, "0", tuple(holds))
        answer = await self.dispatcher.admission.register(self.token, request)
        with desk.call(answer.session) as worker:
            self.worker = worker
        return self

    async def lease(self, most: int = 1, *, wait: float = 0.0, ahead: bool = False) -> list[Task]:
        leased, _ = await self.dispatcher.desk.lease(self.worker, LeaseRequest(most, wait, ahead))
        return leased

    async def deliver(self, *results: TaskResult) -> list[str]:
        answer = await self.dispatcher.desk.results(self.worker, ResultsRequest(results))
        return [receipt.receipt for receipt in answer.receipts]

    async def receipts(self, *results: TaskResult) -> tuple[Receipt, ...]:
        return (await self.dispatcher.desk.results(self.worker, ResultsRequest(results))).receipts


def hold(task: Task, *, attempt: int | None = None) -> Hold:
    return Hold(str(task.key), task.attempts if attempt is None else attempt)


def ended(task: Task, status: ResultStatus = "succeeded", *, attempt: int | None = None) -> TaskResult:
    return TaskResult(str(task.key), task.attempts if attempt is None else attempt, status)


async def until(dispatcher: Dispatcher, condition: Callable[[], bool], *, seconds: float = 10.0) -> None:
    """Wait until it holds, looking again after every change that the dispatcher tells of."""
    changed = asyncio.Event()
    dispatcher.on_job_changed(lambda _: changed.set())
    dispatcher.on_pool_changed(lambda _: changed.set())
    async with asyncio.timeout(seconds):
        while not condition():
            changed.clear()
            await changed.wait()


async def check_memory(dispatcher: Dispatcher) -> None:
    """Counts equal a recount, and memory equals the store."""
    core = dispatcher.core
    ledger = core.ledger
    for uid, known in ledger.jobs.items():
        await core.quiet(known)  # a call that was given up still has its grant written
        states = [task.state for task in known.tasks.values()]
        assert known.counts == {state: states.count(state) for state in TaskState}
        assert known.retried == sum(task.retries for task in known.tasks.values())
        assert known.started == any(task.attempts for task in known.tasks.values())
        progress = known.progress()
        counts = (progress.queued, progress.running, progress.succeeded, progress.failed, progress.cancelled)
        assert progress.total == sum(counts)
        stored = await core.store.tasks(uid)
        assert {t.key.task: (t.state, t.attempts, t.charged, t.lost) for t in stored} == {
            name: (t.state, t.attempts, t.charged, t.lost) for name, t in known.tasks.items()
        }
    for name, pool in ledger.pools.items():
        mine = [known for known in ledger.jobs.values() if known.record.pool == name]
        assert pool.running == sum(known.counts[TaskState.LEASED] for known in mine)
        assert len(pool.queue) == sum(known.counts[TaskState.QUEUED] for known in mine if known.state is JobState.OPEN)
        for known in mine:
            assert pool.queue.running(known.record.uid) == known.counts[TaskState.LEASED]
    leased = {str(t.key) for known in ledger.jobs.values() for t in known.tasks.values() if t.state is TaskState.LEASED}
    assert {str(key) for key in core.leases} == leased


class FullDisk(SqliteStore):
    """A store whose disk is full while `full` is set; grants, ends and forgetting last until `quick` is."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.full = False
        self.quick = asyncio.Event()
        self.quick.set()
        self.forgotten = asyncio.Event()

    def _check(self) -> None:
        if self.full:
            raise StoreFull("the disk is full")

    async def record_grants(self, epoch: int, grants: Sequence[GrantRecord]) -> None:
        self._check()
        await self.quick.wait()
        await super().record_grants(epoch, grants)

    async def end_attempts(self, epoch: int, ends: Sequence[AttemptEnd]) -> None:
        self._check()
        await self.quick.wait()
        await super().end_attempts(epoch, ends)

    async def record_results(self, epoch: int, results: Sequence[ResultRecord]) -> list[Recorded]:
        self._check()
        return await super().record_results(epoch, results)

    async def set_job_state(self, epoch: int, uid: str, state: JobState) -> None:
        self._check()
        await super().set_job_state(epoch, uid, state)

    async def forget_jobs(self, epoch: int, uids: Sequence[str]) -> None:
        self._check()
        await super().forget_jobs(epoch, uids)
        self.forgotten.set()
        await self.quick.wait()  # the real one clears blobs away after its commit
