"""The dispatcher: the seam to control (`protocol.Dispatch`) and the life of the whole.

    async with Dispatcher(store, holder="host/pid") as dispatcher:
        ...                       # admission and desk answer workers: see service.py
        await dispatcher.run()    # returns after close(), raises what made it stop

The pressure: everything that control may do, and everything that workers do, meets in one memory. What must
stay true: one thread, no await between what belongs together; control uses this class and nothing behind it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Self

import msgspec
from prometheus_client import CollectorRegistry

from mahavishnu_operator.api.reasons import FailureClass
from mahavishnu_operator.api.wire import TaskResult
from mahavishnu_operator.store.protocol import Store
from mahavishnu_operator.store.records import JobRecord, JobState, TaskKey, TaskRecord, TokenRecord

from .admission import Admission
from .core import Core, Pace
from .desk import Desk
from .engagement import Engagement
from .grants import Lessor
from .jobs import Jobs
from .meters import Meters
from .outcomes import Settler
from .protocol import Demand, JobProgress, PoolLoad, WorkerView
from .recovery import rebuild
from .timekeeper import Timekeeper
from .visitors import Visitors
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
        self.engagement = Engagement(self.core)
        self.desk = Desk(self.core, Lessor(self.core), settler, self.engagement)
        self.admission = Admission(self.core, settler)
        self.timekeeper = Timekeeper(self.core, settler)
        self.visitors = Visitors(self.core, self)
        self._jobs = Jobs(self.core)

    # --- life ------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The epoch that this dispatcher writes under; 0 before `start`."""
        return self.core.epoch

    async def start(self) -> None:
        """Become the writer and rebuild from the store; calls of workers are answered 503 until then."""
        core = self.core
        core.epoch = await self.store.take_epoch(self._holder)
        self._jobs.closed = await rebuild(core)
        core.started = True
        core.begin(self.timekeeper.run())
        core.begin(self.engagement.run())

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
        await self._jobs.submit(job, tasks)

    async def set_job_state(self, uid: str, state: JobState) -> None:
        """Suspend, resume, cancel or close a job. Unknown and closed jobs stay as they are."""
        await self._jobs.set_state(uid, state)

    async def forget(self, uids: Sequence[str]) -> None:
        """Delete jobs and everything of them; running tasks are lost to their workers."""
        await self._jobs.forget(uids)

    # --- reading ---------------------------------------------------------------------------------

    def progress(self, uid: str) -> JobProgress | None:
        """How a job's tasks stand; None for jobs that are closed, forgotten or were never submitted."""
        core, job = self.core, self.core.ledger.jobs.get(uid)
        if job is None:
            return None
        progress = job.progress()
        if not progress.worker:
            return progress
        return replace(progress, worker_there=core.is_there(progress.pool, progress.worker))

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
        """The pool's queue and workers; a pool never heard of has been idle since this was first asked."""
        core, known = self.core, self.core.ledger.pool(pool)
        workers = tuple(
            WorkerView(
                name=worker.name,
                slots=worker.slots,
                held=core.held(worker),
                draining=core.workers.draining(worker.id),
                registered_at=worker.registered_at,
                idle_seconds=None if worker.idle_from is None else core.clock() - worker.idle_from,
                tasks_done=worker.tasks_done,
                spent=worker.spent,
                cordoned=core.workers.cordoned(worker.id),
            )
            for worker in core.workers.of_pool(pool)
        )
        return PoolLoad(
            queued=len(known.queue),
            backlog=known.queue.backlog,
            running=known.running,
            completed_total=known.completed_total,
            failed_total=known.failed_total,
            last_job=known.last_job,
            idle_since=core.idle_since(pool),
            idle_seconds=None if known.idle_from is None else core.clock() - known.idle_from,
            workers=workers,
        )

    def demand(self, pool: str, workers: Collection[str]) -> Demand:
        """What a pool could lease now, and which of these workers have no need of it."""
        core = self.core
        ids = {name: worker_id(pool, name) for name in workers}
        holding = frozenset(name for name, id_ in ids.items() if core.leases.count_of(id_))
        left = frozenset(name for name, id_ in ids.items() if core.workers.has_left(id_))
        known = core.ledger.pools.get(pool)
        if known is None:
            return Demand(holding=holding, left=left)
        now = core.clock()
        ready = known.queue.ready(now)
        ripe = known.queue.next_ripe()
        return Demand(
            tasks=sum(ready.values()),
            longest_seconds=max((core.ledger.jobs[uid].record.task_timeout_seconds for uid in ready), default=0.0),
            ripe_in=None if ripe is None else max(0.0, ripe - now),
            holding=holding,
            left=left,
        )

    # --- workers ---------------------------------------------------------------------------------

    async def issue_token(self, *, pool: str, worker: str) -> str:
        """A new secret for one worker; its digest is stored."""
        self.core.check_alive()
        token = secrets.token_urlsafe(32)
        await self.core.keep(
            self.store.put_token(self.epoch, TokenRecord(digest(token), pool, worker, self.core.wall()))
        )
        return token

    async def begin_drain(self, *, pool: str, worker: str) -> bool:
        """Lease this worker nothing more; True when it holds nothing."""
        core, id_ = self.core, worker_id(pool, worker)
        core.check_alive()
        if not core.workers.draining(id_):
            core.workers.drain(id_)
            core.worker_changed(pool, worker)
        registered = core.workers.by_id(id_)
        if registered is None:
            return core.leases.count_of(id_) == 0
        core.waiting.wake_worker(registered)
        return core.held(registered) == 0

    async def worker_gone(
        self,
        *,
        pool: str,
        worker: str,
        message: str,
        failure: FailureClass = FailureClass.WORKER_LOST,
        reason: str = "WorkerGone",
    ) -> None:
        """Its process is dead: its attempts end now, in that class and for that reason; its token too."""
        self.core.check_alive()
        self.engagement.forget(worker_id(pool, worker))
        await self.admission.gone(pool=pool, worker=worker, message=message, failure=failure, reason=reason)

    def set_cordoned(self, *, pool: str, worker: str, cordoned: bool) -> None:
        """Lease a worker nothing new while its machine takes no new work."""
        if self.core.workers.cordon(worker_id(pool, worker), cordoned=cordoned):
            self.core.worker_changed(pool, worker)
            self.core.waiting.wake(pool)
