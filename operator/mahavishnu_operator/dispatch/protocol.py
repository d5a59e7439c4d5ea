"""What control may ask of the dispatcher: the seam between reconcilers and the engine.

Control never touches the queue, leases or the store behind the dispatcher's back. All methods are
idempotent, so a reconciler that died half-way simply runs again. What must stay true: when a method
returns, what it did is durable; `progress` is derived from tasks, never counted beside them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mahavishnu_operator.api.reasons import FailureClass
from mahavishnu_operator.api.wire import TaskResult
from mahavishnu_operator.store.records import JobRecord, JobState, TaskRecord


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How a job's tasks stand now. total = queued + running + succeeded + failed + cancelled.

    `pool` is `namespace/name` of the pool that it was given to. With `worker` this one alone is leased its tasks;
    `worker_there`: it is registered and takes leases. A task that waits for its next try is queued.
    """

    state: JobState
    pool: str = ""
    worker: str = ""
    worker_there: bool = True
    total: int = 0
    queued: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    retried: int = 0  # attempts beyond the first of each task
    started: bool = False  # some task was granted at least once

    @property
    def done(self) -> bool:
        """Every task is terminal."""
        return self.total > 0 and self.queued == 0 and self.running == 0


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A registered worker as the dispatcher sees it."""

    name: str
    slots: int
    held: int  # leases it holds now
    draining: bool
    registered_at: float  # seconds since the Unix epoch
    idle_seconds: float | None  # for how long it has held no lease, whatever clocks say; None while it holds one
    tasks_done: int
    spent: bool = False  # it was leased the one task that it may have
    cordoned: bool = False  # its machine takes no new work


@dataclass(frozen=True, slots=True)
class Identity:
    """Which worker a token belongs to. `pool` is `namespace/name`; `guarded`: busy ones are protected (engagement).

    `once`: it is leased one task and no other.
    """

    pool: str
    worker: str
    guarded: bool
    once: bool = False


@dataclass(frozen=True, slots=True)
class Proof:
    """What a visitor shows: the token of a Pod, or the key whose digest the ScanJob's annotation has."""

    token: str = field(default="", repr=False)
    key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Permit:
    """Which ScanJob a visitor speaks for. `sha256`: the only content that may be brought; empty: any.

    `resolves`: the visitor also says which commits the content is.
    """

    uid: str
    namespace: str
    sha256: str = ""
    resolves: bool = False


class Doorkeeper(Protocol):
    """Says who may speak for a ScanJob. Both raise CallRefused."""

    async def permit_upload(self, namespace: str, name: str, proof: Proof) -> Permit:
        """Bring the archive of its files."""
        ...

    async def permit_reading(self, namespace: str, name: str, proof: Proof) -> Permit:
        """Read its report."""
        ...


# Who a bearer of a token that was not issued here is; None: not known. Raises CallRefused.
Identify = Callable[[str], Awaitable[Identity | None]]


@dataclass(frozen=True, slots=True)
class PoolLoad:
    """A pool's queue and workers. Totals count since the dispatcher started.

    `backlog`: the queued tasks that more workers could run: not those that one worker alone may have, nor those that
    the parallelism of their job holds back. `idle_since`, in seconds since the Unix epoch: since when none of its
    workers has had anything to do; what waits for a worker that has gone is not theirs.
    `last_job`: when it was last given a job, in an order over all pools; 0: never.
    """

    queued: int = 0
    backlog: int = 0
    running: int = 0
    completed_total: int = 0
    failed_total: int = 0
    last_job: int = 0
    idle_since: float | None = None  # None while there is work
    idle_seconds: float | None = None  # the same, whatever clocks say
    workers: tuple[WorkerView, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Demand:
    """What workers that are made for one task each are needed for, and which of those that exist are taken.

    `tasks`: how many could be leased at once, to workers that there are not yet; the longest of them may run for
    `longest_seconds`. `ripe_in`: seconds until a task that waits for its next try is one of them; None: none waits.
    `holding` have a lease, registered or not; `left` said that they go.
    """

    tasks: int = 0
    longest_seconds: float = 0.0
    ripe_in: float | None = None
    holding: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()


NO_DEMAND = Demand()


class Dispatch(Protocol):
    """Keys of pools are `namespace/name`."""

    @property
    def epoch(self) -> int:
        """Under which this dispatcher writes."""
        ...

    def on_job_changed(self, callback: Callable[[str], None]) -> None:
        """Call back with a job's uid after any of its tasks changed state (many changes may be one call).

        Also after the one worker that may serve it came or went.
        """
        ...

    def on_pool_changed(self, callback: Callable[[str], None]) -> None:
        """Call back with a pool's key after its load or workers changed."""
        ...

    async def submit(self, job: JobRecord, tasks: Sequence[TaskRecord]) -> None:
        """Make the job if new, add its new tasks, queue them."""
        ...

    async def set_job_state(self, uid: str, state: JobState) -> None:
        """Suspend, resume, cancel (running tasks are told to stop) or close a job."""
        ...

    def progress(self, uid: str) -> JobProgress | None:
        """None: the dispatcher does not know the job (never submitted, or closed before this start)."""
        ...

    async def result(self, uid: str, task: str) -> TaskResult | None:
        """The result of one task that counts."""
        ...

    async def results(self, uid: str) -> list[tuple[str, TaskResult]]:
        """All results of a job so far as (task id, result), in order of seq."""
        ...

    async def forget(self, uids: Sequence[str]) -> None:
        """Drop jobs and everything of them; running tasks are told to stop."""
        ...

    def load(self, pool: str) -> PoolLoad:
        """The pool's queue and workers; a pool never heard of has been idle since this was first asked."""
        ...

    def demand(self, pool: str, workers: Collection[str]) -> Demand:
        """What a pool could lease now, and which of these workers have no need of it."""
        ...

    async def issue_token(self, *, pool: str, worker: str) -> str:
        """A new secret for one worker; its digest is stored."""
        ...

    async def begin_drain(self, *, pool: str, worker: str) -> bool:
        """Lease this worker nothing more; True when it holds nothing (it may be stopped now)."""
        ...

    def set_cordoned(self, *, pool: str, worker: str, cordoned: bool) -> None:
        """Lease a worker nothing new while its machine takes no new work."""
        ...

    async def worker_gone(
        self,
        *,
        pool: str,
        worker: str,
        message: str,
        failure: FailureClass = FailureClass.WORKER_LOST,
        reason: str = "WorkerGone",
    ) -> None:
        """Its process is known to be dead: its attempts end now, in that class and for that reason; its token too."""
        ...
