"""What the parts of the dispatcher share: store, epoch, ledger, leases, workers, and who is told what.

The pressure: memory is a copy of the store, and a copy that differs leases a task twice or loses it. So
every write goes through `Core.write`: memory follows when it is durable, nothing in between is cancelled
half-way (`finish`), two writes about one task never overlap (a lease that is settling, `quiet` for jobs),
and when it is not known whether a write happened the dispatcher stops, and its successor rebuilds from the store.
What must stay true: StaleEpoch stops this dispatcher for good; a StoreFull leaves memory as it was.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog

from mahavishnu_operator.store.protocol import StaleEpoch, Store, StoreFull

from .callers import Caller
from .errors import CallRefused, ClientGone, NotLeader, Starting, TryAgain
from .leases import LeaseTable
from .ledger import Job, Ledger, Pool, Task
from .meters import Meters
from .workers import Worker, Workers

T = TypeVar("T")
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Pace:
    """The durations that workers are told, in seconds, and how much they may ask for."""

    lease_seconds: float = 15.0
    renew_seconds: float = 5.0
    max_batch: int = 64
    longest_poll_seconds: float = 60.0

    def __post_init__(self) -> None:
        if not 0 < self.renew_seconds < self.lease_seconds / 2:
            raise ValueError(f"renew_seconds {self.renew_seconds} must be under half of {self.lease_seconds}")


@dataclass(slots=True, eq=False)
class Waiter:
    """A lease request that waits; the future is answered True when there may be a task."""

    worker: Worker
    woken: asyncio.Future[bool]


@dataclass(slots=True, eq=False)
class PoolWait:
    """Who waits for tasks of a pool, in the order of asking, and when a delayed task ripens."""

    waiters: deque[Waiter] = field(default_factory=deque)
    alarm: asyncio.TimerHandle | None = None
    idle_since: float | None = None


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
        self._waits: dict[str, PoolWait] = {}
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
        for wait in self._waits.values():
            if wait.alarm is not None:
                wait.alarm.cancel()
            for waiter in wait.waiters:
                if not waiter.woken.done():
                    waiter.woken.set_result(False)
        for worker in self.workers.all():
            worker.news.set()

    # --- writing ---------------------------------------------------------------------------------

    async def write(self, call: Awaitable[T]) -> T:
        """Await a write of the store. TryAgain: nothing was written. NotLeader: this dispatcher stopped."""
        try:
            return await call
        except StoreFull as error:
            raise TryAgain(error.message, hint=error.hint) from error
        except Exception as error:
            self.stop(error)  # whether it was written is not known: memory may be wrong from here on
            words = "another dispatcher took over" if isinstance(error, StaleEpoch) else "the store failed"
            raise NotLeader(f"{words}: {error}", hint="try again: its successor answers") from error

    async def keep(self, call: Awaitable[T]) -> T:
        """Await a write that memory has no copy of. TryAgain: the store is full; other errors are the caller's."""
        try:
            return await call
        except StoreFull as error:
            raise TryAgain(error.message, hint=error.hint) from error

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
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, CallRefused):
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

    # --- waiting for tasks -----------------------------------------------------------------------

    def _wait_of(self, pool: str) -> PoolWait:
        found = self._waits.get(pool)
        if found is None:
            found = self._waits[pool] = PoolWait(idle_since=self.wall())
        return found

    async def wait_for_task(self, worker: Worker, seconds: float, caller: Caller | None) -> bool:
        """Wait until there may be a task for this worker: False when the time is up or it shall drain.

        ClientGone when the caller hangs up first. A wake that is not used is passed on.
        """
        wait = self._wait_of(worker.pool)
        waiter = Waiter(worker, asyncio.get_running_loop().create_future())
        wait.waiters.append(waiter)
        self.wake(worker.pool)
        try:
            await asyncio.wait(
                {waiter.woken} if caller is None else {waiter.woken, caller.gone()},
                timeout=max(0.0, seconds),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if caller is not None and caller.left:
                raise ClientGone("the worker hung up while it waited for a task")
            return waiter.woken.done() and waiter.woken.result()
        except BaseException:
            if waiter.woken.done() and waiter.woken.result():
                self.wake(worker.pool)
            raise
        finally:
            if not waiter.woken.done():
                waiter.woken.cancel()
                wait.waiters.remove(waiter)

    def wake(self, pool: str) -> None:
        """Wake the first who waits and can take the next task; otherwise set the alarm for the first delayed."""
        wait = self._waits.get(pool)
        if wait is None or not wait.waiters:
            return
        queue = self.ledger.pool(pool).queue
        now = self.clock()
        uid = queue.peek(now)
        if uid is not None:
            ahead = self.ledger.jobs[uid].quick
            for waiter in wait.waiters:
                if ahead or self.free_slots(waiter.worker) > 0:
                    wait.waiters.remove(waiter)
                    waiter.woken.set_result(True)
                    return
            return
        ripe = queue.next_ripe()
        if ripe is None:
            return
        if wait.alarm is not None:
            wait.alarm.cancel()
        wait.alarm = asyncio.get_running_loop().call_later(max(0.0, ripe - now), self.wake, pool)

    def free_slots(self, worker: Worker) -> int:
        """How many tasks a worker could start now; negative when it was leased some ahead."""
        return worker.slots - self.held(worker)

    def held(self, worker: Worker) -> int:
        """Leases of a worker, those that are being written included."""
        return self.leases.count_of(worker.id) + worker.granting

    def wake_worker(self, worker: Worker) -> None:
        """Let the waiting lease requests of one worker look again (drain, end of its session)."""
        wait = self._wait_of(worker.pool)
        for waiter in [w for w in wait.waiters if w.worker is worker]:
            wait.waiters.remove(waiter)
            waiter.woken.set_result(False)

    # --- telling ---------------------------------------------------------------------------------

    def changed(self, pool: str, job: str | None = None) -> None:
        """Tell listeners, once for all changes until the event loop turns."""
        self._dirty_pools[pool] = None
        if job is not None:
            self._dirty_jobs[job] = None
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        jobs, self._dirty_jobs = self._dirty_jobs, {}
        pools, self._dirty_pools = self._dirty_pools, {}
        for name in pools:
            pool = self.ledger.pool(name)
            self._note_idle(name, pool)
            self.meters.pool(name).levels(
                queued=len(pool.queue), running=pool.running, workers=self.workers.count_of(name)
            )
            for tell in self.pool_listeners:
                tell(name)
        for uid in jobs:
            for tell in self.job_listeners:
                tell(uid)

    def _note_idle(self, name: str, pool: Pool) -> None:
        wait = self._wait_of(name)
        if pool.busy:
            wait.idle_since = None
        elif wait.idle_since is None:
            wait.idle_since = self.wall()

    def idle_since(self, name: str) -> float | None:
        """Since when a pool has had no work, in seconds since the Unix epoch; None while it has."""
        wait, pool = self._wait_of(name), self.ledger.pool(name)
        self._note_idle(name, pool)
        return wait.idle_since
