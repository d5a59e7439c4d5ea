"""What the dispatcher knows of open jobs: every task's state, with counts kept in one place.

The pressure: progress and load are read after every change, so they cannot be recounted each time; yet a
count kept beside the tasks drifts. So a task changes state in `Ledger._move` alone, which keeps the
counts of its job and its pool, and a test compares them with a recount after every operation.
What must stay true: this is a copy of the store: each operation here follows a write there, or is undone.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from mahavishnu_operator.api.reasons import FailureClass
from mahavishnu_operator.api.wire import CommandTask, NoopTask, TaskSpec
from mahavishnu_operator.store.records import JobRecord, JobState, TaskKey, TaskRecord, TaskState

from .lookahead import Pace
from .marks import Keeping
from .protocol import JobProgress
from .queue import TaskQueue


@dataclass(slots=True, eq=False)
class Task:
    """A task of an open job. `queued_at`: monotonic seconds, for the lease-wait metric."""

    job: Job
    key: TaskKey
    seq: int
    spec: bytes
    priority: int
    state: TaskState
    attempts: int
    charged: int
    lost: int
    queued_at: float = 0.0

    @property
    def retries(self) -> int:
        """Attempts that came after one that counts; one that was handed back unstarted is none."""
        return min(self.charged + self.lost, max(0, self.attempts - 1))


@dataclass(slots=True, eq=False)
class Job:
    """An open job with its tasks and their counts."""

    record: JobRecord
    state: JobState
    tasks: dict[str, Task] = field(default_factory=dict)
    counts: dict[TaskState, int] = field(default_factory=lambda: dict.fromkeys(TaskState, 0))
    retried: int = 0
    started: bool = False
    noops: int = 0  # tasks that the agent answers itself
    commands: int = 0
    pace: Pace = field(default_factory=Pace)  # of its commands
    writes: int = 0  # writes about its tasks that are under way
    quiet: asyncio.Event | None = None  # who waits until there are none
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while its state or its list of tasks changes

    @property
    def cancelled(self) -> bool:
        """Nothing of it is tried again."""
        return self.state is JobState.CANCELLED

    @property
    def quick(self) -> bool:
        """Nothing is started for its tasks: the agent answers them itself, so none can wait behind a long one."""
        return self.noops == len(self.tasks)

    def may_go_ahead(self, task: str) -> bool:
        """Whether this task may be leased ahead of a free slot. Bins of a scan, of any length, may not."""
        return self.noops + self.commands == len(self.tasks) and self.tasks[task].attempts == 0

    def progress(self) -> JobProgress:
        """How its tasks stand."""
        counts = self.counts
        return JobProgress(
            state=self.state,
            pool=self.record.pool,
            worker=self.record.worker,
            total=len(self.tasks),
            queued=counts[TaskState.QUEUED],
            running=counts[TaskState.LEASED],
            succeeded=counts[TaskState.SUCCEEDED],
            failed=counts[TaskState.FAILED],
            cancelled=counts[TaskState.CANCELLED],
            retried=self.retried,
            started=self.started,
        )


@dataclass(slots=True, eq=False)
class Pool:
    """A pool's queue and totals since this dispatcher started."""

    name: str
    queue: TaskQueue = field(default_factory=TaskQueue)
    running: int = 0
    completed_total: int = 0
    failed_total: int = 0
    last_job: int = 0  # when it was last given a job, in an order over all pools; 0: never
    idle_since: float | None = None  # seconds since the Unix epoch; None while it has work
    idle_from: float | None = None  # the same on the monotonic clock
    keeping: Keeping = field(default_factory=Keeping)


class Ledger:
    """Open jobs and pools. Methods never await, so what they change together is seen together."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.pools: dict[str, Pool] = {}
        self._ticks = itertools.count(1)

    def pool(self, name: str) -> Pool:
        """The pool of that name, made when it is new."""
        found = self.pools.get(name)
        if found is None:
            found = self.pools[name] = Pool(name)
        return found

    def pool_of(self, task: Task) -> Pool:
        """The pool whose workers run a task."""
        return self.pools[task.job.record.pool]

    def task(self, key: TaskKey) -> Task | None:
        """A task of an open job."""
        job = self.jobs.get(key.job)
        return None if job is None else job.tasks.get(key.task)

    def add_job(self, record: JobRecord) -> Job:
        """Know a job. It must be new."""
        job = self.jobs[record.uid] = Job(record, record.state)
        pool = self.pool(record.pool)
        pool.last_job = next(self._ticks)
        pool.queue.add_job(
            record.uid,
            namespace=record.namespace,
            worker=record.worker,
            priority=record.priority,
            parallelism=record.parallelism,
            paused=record.state is not JobState.OPEN,
        )
        return job

    def add_task(self, job: Job, record: TaskRecord, *, kind: type[TaskSpec], now: float) -> Task:
        """Know a task as the store has it: queued ones wait, leased ones count as running."""
        task = Task(
            job=job,
            key=record.key,
            seq=record.seq,
            spec=record.spec,
            priority=record.priority,
            state=record.state,
            attempts=record.attempts,
            charged=record.charged,
            lost=record.lost,
            queued_at=now,
        )
        job.tasks[record.key.task] = task
        job.noops += kind is NoopTask
        job.commands += kind is CommandTask
        job.counts[task.state] += 1
        job.retried += task.retries
        job.started = job.started or task.attempts > 0
        pool = self.pools[job.record.pool]
        if task.state is TaskState.QUEUED:
            self._wait(task, not_before=None)
        elif task.state is TaskState.LEASED:
            pool.running += 1
            pool.queue.started(job.record.uid)
        return task

    def take(self, pool: Pool, *, worker: str, now: float) -> Task | None:
        """Take the next task of a pool for a worker: leased from here on, one attempt more."""
        taken = pool.queue.pop(now, worker)
        if taken is None:
            return None
        task = self.jobs[taken.job].tasks[taken.task]
        before = task.retries
        task.attempts += 1
        task.job.retried += task.retries - before
        task.job.started = True
        self._move(task, TaskState.LEASED)
        return task

    def untake(self, task: Task, *, not_before: float) -> None:
        """Undo `take`: the grant could not be written."""
        before = task.retries
        task.attempts -= 1
        task.job.retried += task.retries - before
        task.job.started = any(other.attempts for other in task.job.tasks.values())
        self._leave(task, TaskState.QUEUED)
        self._wait(task, not_before=not_before)

    def requeue(self, task: Task, failure: FailureClass, *, not_before: float, now: float) -> None:
        """A leased task goes back; in a cancelled job the cancelling write ends it."""
        self._count_end(task, failure)
        task.queued_at = max(now, not_before)
        self._leave(task, TaskState.QUEUED)
        if not task.job.cancelled:
            self._wait(task, not_before=not_before)

    def finish(self, task: Task, state: TaskState, failure: FailureClass | None = None) -> None:
        """A leased task has its result; `failure`: what its last attempt is counted as, if it failed."""
        if failure is not None:
            self._count_end(task, failure)
        self._leave(task, state)
        pool = self.pool_of(task)
        if state is TaskState.SUCCEEDED:
            pool.completed_total += 1
        elif state is TaskState.FAILED:
            pool.failed_total += 1

    def set_state(self, job: Job, state: JobState) -> None:
        """Change a job's state; only an open job hands out tasks."""
        job.state = state
        self.pools[job.record.pool].queue.pause(job.record.uid, state is not JobState.OPEN)

    def cancel_queued(self, job: Job) -> None:
        """All that waits is cancelled."""
        self.pools[job.record.pool].queue.clear(job.record.uid)
        for task in job.tasks.values():
            if task.state is TaskState.QUEUED:
                self._move(task, TaskState.CANCELLED)

    def requeue_all(self, job: Job) -> None:
        """Let every queued task wait again: a cancelling write failed."""
        self.pools[job.record.pool].queue.clear(job.record.uid)
        for task in job.tasks.values():
            if task.state is TaskState.QUEUED:
                self._wait(task, not_before=None)

    def drop(self, uid: str) -> Job | None:
        """Forget a job and all its tasks; pools keep their totals."""
        job = self.jobs.pop(uid, None)
        if job is not None:
            pool = self.pools[job.record.pool]
            pool.running -= job.counts[TaskState.LEASED]
            pool.queue.remove_job(uid)
        return job

    def leased(self, job: Job) -> Iterator[TaskKey]:
        """Keys of the tasks of a job that are leased."""
        if job.counts[TaskState.LEASED]:
            yield from (task.key for task in job.tasks.values() if task.state is TaskState.LEASED)

    def _wait(self, task: Task, *, not_before: float | None) -> None:
        self.pool_of(task).queue.push(
            task.key.job, task.key.task, seq=task.seq, priority=task.priority, not_before=not_before
        )

    def _leave(self, task: Task, state: TaskState) -> None:
        """Leased no more."""
        self._move(task, state)
        self.pool_of(task).queue.finished(task.key.job)

    @staticmethod
    def _count_end(task: Task, failure: FailureClass) -> None:
        before = task.retries
        task.charged += failure.charged
        task.lost += failure.lost
        task.job.retried += task.retries - before

    def _move(self, task: Task, state: TaskState) -> None:
        """The one place where a task changes state and counts follow."""
        counts = task.job.counts
        counts[task.state] -= 1
        counts[state] += 1
        self.pool_of(task).running += (state is TaskState.LEASED) - (task.state is TaskState.LEASED)
        task.state = state
