"""What the parts of the dispatcher share: store, epoch, ledger, leases, workers, and who is told what.

The pressure: memory is a copy of the store, and a copy that differs leases a task twice or loses it. So
every write goes through `Core.write`: memory follows when it is durable, nothing in between is cancelled
half-way (`finish`), two writes about one task never overlap (a lease that is settling, `quiet` for jobs),
and when it is not known whether a write happened the dispatcher stops, and its successor rebuilds from the store.
What must stay true: StaleEpoch stops this dispatcher for good; a NotStored leaves memory as it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from mahavishnu_operator.store.protocol import NotStored, StaleEpoch, Store
from mahavishnu_operator.support.errors import Conflict

from .errors import CallRefused, NotLeader, Starting, TryAgain
from .leases import Lease, LeaseTable
from .ledger import Job, Ledger, Task
from .lookahead import most_held
from .marks import Marks
from .meters import Meters
from .waiting import Waiting
from .workers import Worker, Workers, worker_id

T = TypeVar("T")
_ANSWERS = (CallRefused, Conflict)  # they say what was not done, and that memory and store still agree
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Pace:
    """The durations that workers are told, in seconds, and how much they may ask for.

    `poll_seconds`: an idle worker asks again that often. Below the minute after which proxies cut a silent connection.
    """

    lease_seconds: float = 15.0
    renew_seconds: float = 5.0
    max_batch: int = 128
    poll_seconds: float = 50.0

    def __post_init__(self) -> None:
        if not 0 < self.renew_seconds < self.lease_seconds / 2:
            raise ValueError(f"renew_seconds {self.renew_seconds} must be under half of {self.lease_seconds}")


class Core:
    """Shared state; see the parts that use it: grants, outcomes, desk, dispatcher."""

    def __init__(
        self,
        store: Store,
        *,
        pace: Pace,
        meters: Meters,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.store, self.pace, self.meters, self.clock, self.wall = store, pace, meters, clock, wall
        self.epoch = 0
        self.ledger = Ledger()
        self.leases = LeaseTable()
        self.workers = Workers()
        self.started = False
        self.stopped = False
        self.failure: BaseException | None = None
        self.ended = asyncio.Event()
        self.job_listeners: list[Callable[[str], None]] = []
        self.pool_listeners: list[Callable[[str], None]] = []
        self.marks = Marks()
        self.waiting = Waiting(self.ledger, clock=clock, can_take=self.can_take, unmarked=self.marks.missing)
        self._dirty_jobs: dict[str, None] = {}
        self._dirty_pools: dict[str, None] = {}
        self._flushing = False
        self._unfinished: set[asyncio.Task[Any]] = set()

    # --- alive or not ----------------------------------------------------------------------------

    def check_alive(self) -> None:
        """Raise Starting or NotLeader unless calls can be answered."""
        if self.stopped:
            raise NotLeader("this dispatcher has stopped", hint="try again: its successor answers")
        if not self.started:
            raise Starting("the dispatcher is reading its state from the store", hint="try again in a moment")

    def stop(self, failure: BaseException | None = None) -> None:
        """Answer nothing more and wake everybody who waits; the first failure is kept."""
        if self.stopped:
            return
        self.stopped, self.failure = True, failure
        if failure is not None:
            log.error("dispatcher stops", reason=type(failure).__name__, error=str(failure), epoch=self.epoch)
        self.ended.set()
        self.waiting.end()
        for worker in self.workers.all():
            worker.news.set()

    # --- writing ---------------------------------------------------------------------------------

    async def write(self, call: Awaitable[T]) -> T:
        """Await a write of the store. TryAgain: nothing was written. NotLeader: this dispatcher stopped."""
        try:
            return await call
        except NotStored as error:
            raise TryAgain(error.message, hint=error.hint, reason=error.reason) from error
        except Exception as error:
            self.stop(error)  # whether it was written is not known: memory may be wrong from here on
            words = "another dispatcher took over" if isinstance(error, StaleEpoch) else "the store failed"
            raise NotLeader(f"{words}: {error}", hint="try again: its successor answers") from error

    async def keep(self, call: Awaitable[T]) -> T:
        """Await a write that memory has no copy of. TryAgain: nothing was written. NotLeader: it was replaced.

        Other errors are the caller's.
        """
        try:
            return await call
        except NotStored as error:
            raise TryAgain(error.message, hint=error.hint, reason=error.reason) from error
        except StaleEpoch as error:
            self.stop(error)
            raise NotLeader(
                f"another dispatcher took over: {error}", hint="try again: its successor answers"
            ) from error

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a write with what follows from it to its end, even if the caller is cancelled meanwhile."""
        return await asyncio.shield(self.begin(work))

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run work that `settle_all` waits for. An error that is no answer to a caller stops the dispatcher."""
        task = asyncio.ensure_future(work)
        self._unfinished.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._unfinished.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, _ANSWERS):
            self.stop(error)

    def begin_writing(self, tasks: Iterable[Task]) -> None:
        """Mark the jobs of these tasks as being written about, in the same breath as the decision what to write."""
        for task in tasks:
            task.job.writes += 1

    def end_writing(self, tasks: Iterable[Task]) -> None:
        """Take the marks back."""
        for task in tasks:
            task.job.writes -= 1
            if task.job.writes == 0 and task.job.quiet is not None:
                task.job.quiet.set()

    async def quiet(self, job: Job) -> None:
        """Wait until no write about a task of this job is under way.

        A change of the job's state is written after that: then every end that was decided before it is in the
        store, and every later one was decided knowing it.
        """
        while job.writes:
            if job.quiet is None:
                job.quiet = asyncio.Event()
            job.quiet.clear()
            await job.quiet.wait()

    async def settle_all(self) -> None:
        """Wait for all work that was begun."""
        while self._unfinished:
            await asyncio.wait(self._unfinished)

    # --- workers -----------------------------------------------------------------------------------

    def is_there(self, pool: str, worker: str) -> bool:
        """Whether that worker is registered and takes leases."""
        id_ = worker_id(pool, worker)
        return self.workers.by_id(id_) is not None and not self.workers.draining(id_)

    def free_slots(self, worker: Worker) -> int:
        """How many tasks a worker could start now; negative when it was leased some ahead."""
        return (0 if self.takes_nothing(worker) else worker.slots) - self.held(worker)

    def takes_nothing(self, worker: Worker) -> bool:
        """Whether it is leased nothing more: it has had its one task, or its machine takes no new work."""
        return worker.spent or self.workers.cordoned(worker.id)

    def can_take(self, worker: Worker, uid: str) -> bool:
        """Whether it may be leased the next task of that job now."""
        return self.held(worker) < self.most_held(worker, uid)

    def most_held(self, worker: Worker, uid: str) -> int:
        """How many leases this worker may have, if the next is one of that job."""
        job, pool = self.ledger.jobs[uid], self.ledger.pool(worker.pool)
        if self.takes_nothing(worker):
            return 0
        if worker.once:
            return 1
        if job.quick:
            return self.held(worker) + self.pace.max_batch
        # Ahead of a free slot only while there is enough for every worker: an idle one comes first.
        if not worker.ahead or len(pool.queue) < self.workers.count_of(worker.pool):
            return worker.slots
        if not job.may_go_ahead(pool.queue.first_of(uid)):
            return worker.slots
        oldest = self.leases.oldest_of(worker.id)
        return most_held(
            slots=worker.slots,
            pace=job.pace,
            oldest_seconds=self.clock() - oldest.granted_at if oldest is not None else 0.0,
            max_batch=self.pace.max_batch,
        )

    def held(self, worker: Worker) -> int:
        """Leases of a worker, those that are being written included."""
        return self.leases.count_of(worker.id) + worker.granting

    def drop_lease(self, lease: Lease) -> None:
        """Hold a task no more; a worker without another is idle from now on."""
        self.leases.remove(lease)
        worker = self.workers.by_id(lease.worker)
        if worker is not None and self.held(worker) == 0:
            worker.idle_from = self.clock()

    # --- telling ---------------------------------------------------------------------------------

    def changed(self, pool: str, job: str | None = None) -> None:
        """Tell listeners, once for all changes until the event loop turns."""
        self._dirty_pools[pool] = None
        if job is not None:
            self._dirty_jobs[job] = None
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def worker_changed(self, pool: str, worker: str) -> None:
        """A worker came, goes or is gone: its pool and the jobs that wait for it alone are told of."""
        self.changed(pool)
        for uid in self.ledger.pool(pool).queue.jobs_for(worker):
            self.changed(pool, uid)

    def _flush(self) -> None:
        self._flushing = False
        jobs, self._dirty_jobs = self._dirty_jobs, {}
        pools, self._dirty_pools = self._dirty_pools, {}
        for name in pools:
            pool = self.ledger.pool(name)
            self.idle_since(name)
            self.meters.pool(name).levels(
                queued=len(pool.queue), running=pool.running, workers=self.workers.count_of(name)
            )
            for tell in self.pool_listeners:
                tell(name)
        for uid in jobs:
            for tell in self.job_listeners:
                tell(uid)

    def idle_since(self, name: str) -> float | None:
        """Since when a pool has had nothing to do, in seconds since the Unix epoch; None while it has.

        What waits for a worker that is not there is nothing to do.
        """
        pool = self.ledger.pool(name)
        out_of_reach = sum(n for worker, n in pool.queue.reserved.items() if not self.is_there(name, worker))
        if pool.running > 0 or len(pool.queue) > out_of_reach:
            pool.idle_since = pool.idle_from = None
        elif pool.idle_since is None:
            pool.idle_since, pool.idle_from = self.wall(), self.clock()
        return pool.idle_since
