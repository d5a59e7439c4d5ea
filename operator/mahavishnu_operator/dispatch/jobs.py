"""Changing jobs: their tasks, their state, their end.

The pressure: reconcilers call these again after any failure, at any moment, beside thousands of worker calls.
What must stay true: when a method returns, what it did is durable; a job's state is changed in memory first and
written when no write about its tasks is under way, so that no task slips between; a change that could not be
written is undone.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack, nullcontext

import msgspec

from mahavishnu_operator.api.wire import TaskSpec
from mahavishnu_operator.store.records import JobRecord, JobState, TaskRecord, TaskState
from mahavishnu_operator.support.errors import Conflict, InvalidInput

from .core import Core
from .ledger import Job
from .recovery import kind_of


class Jobs:
    """Control's changes. `closed`: uids of jobs that the store keeps for readers only."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.closed: set[str] = set()

    async def submit(self, job: JobRecord, tasks: Sequence[TaskRecord]) -> None:
        """Make the job if new, add its new tasks, queue them.

        Conflict: the job is closed. InvalidInput: a spec is no wire.TaskSpec; nothing was written.
        """
        core = self._core
        core.check_alive()
        self._check_open(job)
        kinds = [_checked_kind(job, task) for task in tasks]
        await core.finish(self._submit(job, tasks, kinds))

    async def _submit(self, record: JobRecord, tasks: Sequence[TaskRecord], kinds: Sequence[type[TaskSpec]]) -> None:
        core = self._core
        known = core.ledger.jobs.get(record.uid)
        async with known.changing if known is not None else nullcontext():
            self._check_open(record)
            await core.write(core.store.add_job(core.epoch, record, tasks))
            self._queue(record, tasks, kinds)

    def _check_open(self, job: JobRecord) -> None:
        if job.uid in self.closed:
            raise Conflict(
                f"job {job.namespace}/{job.name} ({job.uid}) is closed: its tasks have ended",
                hint="make a new ScanJob to run it again",
            )

    def _queue(self, record: JobRecord, tasks: Sequence[TaskRecord], kinds: Sequence[type[TaskSpec]]) -> None:
        core, now = self._core, self._core.clock()
        job = core.ledger.jobs.get(record.uid) or core.ledger.add_job(record)
        for task, kind in zip(tasks, kinds, strict=True):
            if task.key.task not in job.tasks:
                core.ledger.add_task(job, task, kind=kind, now=now)
        if job.cancelled:
            core.ledger.cancel_queued(job)
        core.changed(job.record.pool, record.uid)
        core.waiting.wake(job.record.pool)

    async def set_state(self, uid: str, state: JobState) -> None:
        """Suspend, resume, cancel or close a job. Unknown and closed jobs stay as they are.

        Conflict: it is cancelled and shall be anything but closed.
        """
        core = self._core
        core.check_alive()
        if (job := core.ledger.jobs.get(uid)) is not None:
            await core.finish(self._change(job, state))

    async def _change(self, job: Job, state: JobState) -> None:
        """Decide under the lock: what it may become depends on the change before it, which may still be undone."""
        uid = job.record.uid
        async with job.changing:
            if self._core.ledger.jobs.get(uid) is not job or job.state is state:
                return
            if job.cancelled and state is not JobState.CLOSED:
                raise Conflict(
                    f"job {uid} is cancelled and cannot become {state.value}", hint="close it, or make a new one"
                )
            await self._set_state(job, state)

    async def _set_state(self, job: Job, state: JobState) -> None:
        core, uid, before = self._core, job.record.uid, job.state
        core.ledger.set_state(job, state)
        self._tell_holders(job)
        try:
            await core.quiet(job)
            await core.write(core.store.set_job_state(core.epoch, uid, state))
        except BaseException:
            core.ledger.set_state(job, before)
            if state is JobState.CANCELLED:
                core.ledger.requeue_all(job)
            core.waiting.wake(job.record.pool)
            raise
        if state is JobState.CANCELLED:
            core.ledger.cancel_queued(job)
            self._tell_holders(job)  # those too whose grant was being written
        elif state is JobState.CLOSED:
            self.closed.add(uid)
            self._drop(job)
        core.changed(job.record.pool, None if state is JobState.CLOSED else uid)  # its tasks had all ended before
        core.waiting.wake(job.record.pool)

    async def forget(self, uids: Sequence[str]) -> None:
        """Delete jobs and everything of them; running tasks are lost to their workers."""
        core = self._core
        core.check_alive()
        await core.finish(self._forget(uids))

    async def _forget(self, uids: Sequence[str]) -> None:
        async with AsyncExitStack() as locks:
            for uid in sorted(uids):
                if (job := self._core.ledger.jobs.get(uid)) is not None:
                    await locks.enter_async_context(job.changing)
            await self._forget_locked(uids)

    async def _forget_locked(self, uids: Sequence[str]) -> None:
        core = self._core
        jobs = [job for uid in uids if (job := core.ledger.jobs.get(uid)) is not None]
        before = [job.state for job in jobs]
        for job in jobs:
            core.ledger.set_state(job, JobState.CLOSED)
        try:
            for job in jobs:
                await core.quiet(job)
            await core.write(core.store.forget_jobs(core.epoch, uids))
        except BaseException:
            for job, state in zip(jobs, before, strict=True):
                core.ledger.set_state(job, state)
                core.waiting.wake(job.record.pool)
            raise
        for job in jobs:
            self._drop(job)
            core.changed(job.record.pool, job.record.uid)
        self.closed.difference_update(uids)

    def _drop(self, job: Job) -> None:
        """Leave a job out of memory and tell who still runs a task of it."""
        self._tell_holders(job)
        for lease in self._core.leases.of_job(self._core.ledger.leased(job)):
            self._core.drop_lease(lease)
        self._core.ledger.drop(job.record.uid)

    def _tell_holders(self, job: Job) -> None:
        """Wake the renewals of workers that hold a task of this job."""
        for lease in self._core.leases.of_job(self._core.ledger.leased(job)):
            worker = self._core.workers.by_id(lease.worker)
            if worker is not None:
                worker.news.set()


def _checked_kind(job: JobRecord, task: TaskRecord) -> type[TaskSpec]:
    if task.key.job != job.uid:
        raise InvalidInput(f"task {task.key} was submitted with job {job.uid}, which is not its own")
    if task.state is not TaskState.QUEUED:
        raise InvalidInput(f"task {task.key} is submitted as {task.state.value}; tasks are submitted queued")
    try:
        return kind_of(task.spec)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"the spec of task {task.key} is not one that workers understand: {error}") from None
