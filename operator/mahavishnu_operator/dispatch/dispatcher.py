"""The dispatcher: the seam to control (`protocol.Dispatch`) and the life of the whole.

    async with Dispatcher(store, holder="host/pid") as dispatcher:
        ...                       # dispatcher.desk answers workers: see service.py
        await dispatcher.run()    # returns after close(), raises what made it stop

The pressure: reconcilers call these methods again after any failure, at any moment, beside thousands of
worker calls. What must stay true: when a method returns, what it did is durable; a job's state is changed
in memory first and written when no write about its tasks is under way, so that no task slips between.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, nullcontext
from typing import Self

import msgspec
from prometheus_client import CollectorRegistry

from mahavishnu_operator.api.wire import TaskResult
from mahavishnu_operator.store.protocol import Store
from mahavishnu_operator.store.records import JobRecord, JobState, TaskKey, TaskRecord, TaskState, TokenRecord
from mahavishnu_operator.support.errors import Conflict, InvalidInput

from .core import Core, Pace
from .desk import Desk
from .grants import Lessor
from .ledger import Job
from .meters import Meters
from .outcomes import Settler
from .protocol import JobProgress, PoolLoad, WorkerView
from .recovery import is_noop, rebuild
from .workers import digest, worker_id

PAGE = 1000  # results read at once
_RESULT = msgspec.json.Decoder(TaskResult)


class Dispatcher:
    """Implements protocol.Dispatch. Methods raise NotLeader after it stopped and TryAgain when the store is full.

    `holder` names this process in the store's epoch; `clock` is monotonic and the event loop's own, `wall` is
    for showing.
    """

    def __init__(
        self,
        store: Store,
        *,
        holder: str,
        pace: Pace | None = None,
        registry: CollectorRegistry | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self._holder = holder
        self.meters = Meters(registry)
        self.core = Core(store, pace=pace or Pace(), meters=self.meters, clock=clock, wall=wall)
        settler = Settler(self.core)
        self.desk = Desk(self.core, Lessor(self.core), settler)
        self._closed_jobs: set[str] = set()

    # --- life ------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The epoch that this dispatcher writes under; 0 before `start`."""
        return self.core.epoch

    async def start(self) -> None:
        """Become the writer and rebuild from the store; calls of workers are answered 503 until then."""
        core = self.core
        core.epoch = await self.store.take_epoch(self._holder)
        self._closed_jobs = await rebuild(core)
        core.started = True
        core.begin(self.desk.keep_time())

    async def run(self) -> None:
        """Return after `close`; raise what made the dispatcher stop (StaleEpoch: another one took over)."""
        await self.core.ended.wait()
        if self.core.failure is not None:
            raise self.core.failure

    async def close(self) -> None:
        """Stop answering, finish writes that were begun. Leases stay: a successor or a restart adopts them."""
        self.core.stop()
        await self.core.settle_all()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- telling ---------------------------------------------------------------------------------

    def on_job_changed(self, callback: Callable[[str], None]) -> None:
        """Call back with a job's uid after its tasks changed."""
        self.core.job_listeners.append(callback)

    def on_pool_changed(self, callback: Callable[[str], None]) -> None:
        """Call back with a pool's key after its load or workers changed."""
        self.core.pool_listeners.append(callback)

    # --- jobs ------------------------------------------------------------------------------------

    async def submit(self, job: JobRecord, tasks: Sequence[TaskRecord]) -> None:
        """Make the job if new, add its new tasks, queue them.

        Conflict: the job is closed. InvalidInput: a spec is no wire.TaskSpec; nothing was written.
        """
        core = self.core
        core.check_alive()
        if job.uid in self._closed_jobs:
            raise Conflict(
                f"job {job.namespace}/{job.name} ({job.uid}) is closed: its tasks have ended",
                hint="make a new ScanJob to run it again",
            )
        noops = [_checked_spec(job, task) for task in tasks]
        await core.finish(self._submit(job, tasks, noops))

    async def _submit(self, record: JobRecord, tasks: Sequence[TaskRecord], noops: Sequence[bool]) -> None:
        core = self.core
        known = core.ledger.jobs.get(record.uid)
        async with known.changing if known is not None else nullcontext():
            await core.write(self.store.add_job(core.epoch, record, tasks))
            self._queue(record, tasks, noops)

    def _queue(self, record: JobRecord, tasks: Sequence[TaskRecord], noops: Sequence[bool]) -> None:
        core, now = self.core, self.core.clock()
        job = core.ledger.jobs.get(record.uid) or core.ledger.add_job(record)
        for task, noop in zip(tasks, noops, strict=True):
            if task.key.task not in job.tasks:
                core.ledger.add_task(job, task, noop=noop, now=now)
        if job.cancelled:
            core.ledger.cancel_queued(job)
        core.changed(job.record.pool, record.uid)
        core.wake(job.record.pool)

    async def set_job_state(self, uid: str, state: JobState) -> None:
        """Suspend, resume, cancel or close a job. Unknown and closed jobs stay as they are."""
        core = self.core
        core.check_alive()
        if (job := core.ledger.jobs.get(uid)) is None or job.state is state:
            return
        if job.cancelled and state is not JobState.CLOSED:
            raise Conflict(
                f"job {uid} is cancelled and cannot become {state.value}", hint="close it, or make a new one"
            )
        await core.finish(self._change(job, state))

    async def _change(self, job: Job, state: JobState) -> None:
        async with job.changing:
            if self.core.ledger.jobs.get(job.record.uid) is job:
                await self._set_state(job, state)

    async def _set_state(self, job: Job, state: JobState) -> None:
        core, uid, before = self.core, job.record.uid, job.state
        core.ledger.set_state(job, state)
        self._tell_holders(job)
        try:
            await core.quiet(job)
            await core.write(self.store.set_job_state(core.epoch, uid, state))
        except BaseException:
            core.ledger.set_state(job, before)
            if state is JobState.CANCELLED:
                core.ledger.requeue_all(job)
            core.wake(job.record.pool)
            raise
        if state is JobState.CANCELLED:
            core.ledger.cancel_queued(job)
        elif state is JobState.CLOSED:
            self._closed_jobs.add(uid)
            self._drop(job)
        core.changed(job.record.pool, uid)
        core.wake(job.record.pool)

    async def forget(self, uids: Sequence[str]) -> None:
        """Delete jobs and everything of them; running tasks are lost to their workers."""
        core = self.core
        core.check_alive()
        await core.finish(self._forget(uids))

    async def _forget(self, uids: Sequence[str]) -> None:
        async with AsyncExitStack() as locks:
            for uid in sorted(uids):
                if (job := self.core.ledger.jobs.get(uid)) is not None:
                    await locks.enter_async_context(job.changing)
            await self._forget_locked(uids)

    async def _forget_locked(self, uids: Sequence[str]) -> None:
        core = self.core
        jobs = [job for uid in uids if (job := core.ledger.jobs.get(uid)) is not None]
        before = [job.state for job in jobs]
        for job in jobs:
            core.ledger.set_state(job, JobState.CLOSED)
        try:
            for job in jobs:
                await core.quiet(job)
            await core.write(self.store.forget_jobs(core.epoch, uids))
        except BaseException:
            for job, state in zip(jobs, before, strict=True):
                core.ledger.set_state(job, state)
                core.wake(job.record.pool)
            raise
        for job in jobs:
            self._drop(job)
            core.changed(job.record.pool, job.record.uid)
        self._closed_jobs.difference_update(uids)

    def _drop(self, job: Job) -> None:
        """Leave a job out of memory and tell who still runs a task of it."""
        self._tell_holders(job)
        for lease in self.core.leases.of_job(self.core.ledger.leased(job)):
            self.core.leases.remove(lease)
        self.core.ledger.drop(job.record.uid)

    def _tell_holders(self, job: Job) -> None:
        """Wake the renewals of workers that hold a task of this job."""
        for lease in self.core.leases.of_job(self.core.ledger.leased(job)):
            worker = self.core.workers.by_id(lease.worker)
            if worker is not None:
                worker.news.set()

    # --- reading ---------------------------------------------------------------------------------

    def progress(self, uid: str) -> JobProgress | None:
        """How a job's tasks stand; None for jobs that are closed, forgotten or were never submitted."""
        job = self.core.ledger.jobs.get(uid)
        return None if job is None else job.progress()

    async def result(self, uid: str, task: str) -> TaskResult | None:
        """The result of one task that counts."""
        record = await self.store.result(TaskKey(uid, task))
        return None if record is None else _RESULT.decode(record.body)

    async def results(self, uid: str) -> list[tuple[str, TaskResult]]:
        """All results of a job so far, by seq."""
        found: list[tuple[str, TaskResult]] = []
        after, limit = -(2**63), PAGE
        while True:
            page = await self.store.results(uid, after_seq=after, limit=limit)
            full, last = len(page) == limit, page[-1][0] if page else after
            if full and page[0][0] == last:  # one seq fills the page: only a larger one can pass it
                limit *= 2
                continue
            keep = [(seq, record) for seq, record in page if seq < last] if full else page
            found += [(record.key.task, _RESULT.decode(record.body)) for _, record in keep]
            if not full:
                return found
            after = keep[-1][0]

    def load(self, pool: str) -> PoolLoad:
        """The pool's queue and workers; zeros for a pool never heard of."""
        core = self.core
        known = core.ledger.pools.get(pool)
        workers = tuple(
            WorkerView(
                name=worker.name,
                slots=worker.slots,
                held=core.held(worker),
                draining=core.workers.draining(worker.id),
                registered_at=worker.registered_at,
                idle_since=worker.idle_since,
                tasks_done=worker.tasks_done,
            )
            for worker in core.workers.of_pool(pool)
        )
        if known is None:
            return PoolLoad(workers=workers)
        return PoolLoad(
            queued=len(known.queue),
            running=known.running,
            completed_total=known.completed_total,
            failed_total=known.failed_total,
            idle_since=core.idle_since(pool),
            workers=workers,
        )

    # --- workers ---------------------------------------------------------------------------------

    async def issue_token(self, *, pool: str, worker: str) -> str:
        """A new secret for one worker; its digest is stored."""
        self.core.check_alive()
        token = secrets.token_urlsafe(32)
        await self.core.keep(self.store.put_token(TokenRecord(digest(token), pool, worker, self.core.wall())))
        return token

    async def begin_drain(self, *, pool: str, worker: str) -> bool:
        """Lease this worker nothing more; True when it holds nothing."""
        core, id_ = self.core, worker_id(pool, worker)
        core.check_alive()
        if not core.workers.draining(id_):
            core.workers.drain(id_)
            core.changed(pool)
        registered = core.workers.by_id(id_)
        if registered is None:
            return core.leases.count_of(id_) == 0
        core.wake_worker(registered)
        return core.held(registered) == 0

    async def worker_gone(self, *, pool: str, worker: str, message: str) -> None:
        """Its process is dead: its attempts end now, its token too."""
        self.core.check_alive()
        await self.desk.gone(pool, worker, worker_id(pool, worker), message)


def _checked_spec(job: JobRecord, task: TaskRecord) -> bool:
    if task.key.job != job.uid:
        raise InvalidInput(f"task {task.key} was submitted with job {job.uid}, which is not its own")
    if task.state is not TaskState.QUEUED:
        raise InvalidInput(f"task {task.key} is submitted as {task.state.value}; tasks are submitted queued")
    try:
        return is_noop(task.spec)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"the spec of task {task.key} is not one that workers understand: {error}") from None
