"""The calls of registered workers: lease, renew, results, output, release, leave.

The pressure: callers are on other machines, may be hostile, slow, duplicated or dead, and thousands of
them wait at once. What must stay true: a worker acts only on what was granted to it; a request that waits
is woken by what it waits for and never polls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog

from mahavishnu_operator.api.reasons import FailureClass
from mahavishnu_operator.api.wire import (
    MAX_BLOB_BYTES,
    Hold,
    LeaseRequest,
    OutputRequest,
    ReleaseRequest,
    RenewRequest,
    RenewResponse,
    ResultsRequest,
    ResultsResponse,
)
from mahavishnu_operator.store.records import JobRecord, OutputPiece, TaskKey
from mahavishnu_operator.store.sql.references import named_in

from .callers import Caller
from .core import Core
from .engagement import Engagement
from .errors import (
    ClientGone,
    SessionUnknown,
    TooLarge,
)
from .grants import Lessor
from .leases import Lease
from .ledger import Task
from .limits import MAX_MESSAGE, checked_results, task_key, words
from .outcomes import Settler
from .workers import Worker

log = structlog.get_logger(__name__)
MAX_OFFSET = 2**53  # of output, in bytes
CHUNK_COST = 256  # bytes that a piece takes in the store besides its data: many small ones fill it too


class Desk:
    """Answers workers. All methods raise CallRefused."""

    def __init__(self, core: Core, lessor: Lessor, settler: Settler, engagement: Engagement) -> None:
        self._core, self._lessor, self._settler, self._engagement = core, lessor, settler, engagement

    @contextmanager
    def call(self, session: str) -> Iterator[Worker]:
        """The worker behind a session, for the time of one call. SessionUnknown, NotLeader, Starting."""
        core = self._core
        core.check_alive()
        worker = core.workers.by_session(session)
        if worker is None:
            raise SessionUnknown(
                "this session is not known", hint="register again; what is held stays held until its deadline"
            )
        worker.calls += 1
        try:
            yield worker
        finally:
            worker.calls -= 1
            worker.last_seen = core.clock()

    def reader(self, worker: Worker, sha256: str) -> JobRecord | None:
        """The job of a task that this worker holds and that names the blob: knowing a digest is not enough."""
        for lease in self._core.leases.of_worker(worker.id):
            job = self._core.ledger.jobs.get(lease.key.job)
            task = job.tasks.get(lease.key.task) if job is not None else None
            if task is not None and sha256 in named_in(task.spec):
                return task.job.record
        return None

    # --- leases ----------------------------------------------------------------------------------

    async def lease(
        self, worker: Worker, request: LeaseRequest, *, caller: Caller | None = None
    ) -> tuple[list[Task], bool]:
        """Tasks leased to this worker, and whether it shall drain. ClientGone: the caller hung up meanwhile."""
        core = self._core
        worker.ahead = request.ahead
        until = core.clock() + min(max(0.0, request.wait_seconds), core.pace.poll_seconds)
        while True:
            if core.workers.draining(worker.id) or not core.workers.current(worker):
                core.waiting.wake(worker.pool)  # the wake that reached this request is for the next one
            self._lessor.check_current(worker)
            if core.workers.draining(worker.id):
                return [], True
            if core.marks.missing(worker):
                if core.waiting.may_be_marked(worker):
                    await self._engagement.engage(worker)
                    continue
            elif chosen := self._lessor.choose(worker, request.max):
                core.waiting.wake(worker.pool)  # who waits behind this one may take the rest
                return await core.finish(self._grant(worker, chosen, caller)), False
            left = until - core.clock()
            if left <= 0 or not await core.waiting.wait(worker, left, caller=caller):
                core.waiting.wake(worker.pool)  # it was woken in vain perhaps, and does not wait on
                core.check_alive()
                self._lessor.check_current(worker)
                return [], core.workers.draining(worker.id)

    async def _grant(self, worker: Worker, tasks: list[Task], caller: Caller | None) -> list[Task]:
        held = await self._lessor.grant(worker, tasks)
        current = self._core.workers.current(worker)
        if current and (caller is None or not caller.left):
            return held
        leases = [lease for task in held if (lease := self._core.leases.get(task.key)) is not None]
        await self._settler.lose(
            leases,
            FailureClass.DISRUPTED,
            reason="NotDelivered",
            message=f"worker {worker.id} was gone before it heard of the lease",
        )
        if current:
            raise ClientGone("the worker hung up before its lease was answered")
        raise SessionUnknown("this session has ended while tasks were leased to it")

    async def renew(self, worker: Worker, request: RenewRequest, *, caller: Caller | None = None) -> RenewResponse:
        """Move deadlines; answer at once when there is news that this session was not told yet."""
        core = self._core
        now = core.clock()
        named = [(hold, task_key(hold.task)) for hold in request.holds]
        for hold, key in named:
            lease = core.leases.held(key, hold.attempt, worker=worker.id)
            if lease is not None:
                lease.deadline = now + lease.seconds
        until = now + min(max(0.0, request.wait_seconds), core.pace.renew_seconds)
        while True:
            worker.news.clear()
            core.check_alive()
            self._lessor.check_current(worker)
            answer = self._news(worker, named)
            # a hold counts as told only when the worker named it: of another one it may not have heard yet
            told = frozenset((hold, hold in request.holds) for hold in (*answer.cancel, *answer.lost))
            fresh = not told <= worker.told or (answer.drain and not worker.drain_told)
            left = until - core.clock()
            if fresh or left <= 0 or (caller is not None and caller.left):
                worker.told, worker.drain_told = told, answer.drain
                return answer
            waiting = asyncio.ensure_future(worker.news.wait())
            try:
                await asyncio.wait(
                    {waiting} if caller is None else {waiting, caller.gone()},
                    timeout=left,
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                waiting.cancel()

    def _news(self, worker: Worker, named: Sequence[tuple[Hold, TaskKey]]) -> RenewResponse:
        core = self._core
        cancel, lost = [], []
        for hold, key in named:
            task = core.ledger.task(key)
            if task is None or core.leases.held(key, hold.attempt, worker=worker.id) is None:
                lost.append(hold)
            elif task.job.cancelled:
                cancel.append(hold)
        known = {(key, hold.attempt) for hold, key in named}
        for lease in core.leases.of_worker(worker.id):  # granted since this call began to wait
            task = core.ledger.task(lease.key)
            if (lease.key, lease.attempt) not in known and task is not None and task.job.cancelled:
                cancel.append(Hold(str(lease.key), lease.attempt))
        return RenewResponse(cancel=tuple(cancel), lost=tuple(lost), drain=core.workers.draining(worker.id))

    # --- ends ------------------------------------------------------------------------------------

    async def results(self, worker: Worker, request: ResultsRequest) -> ResultsResponse:
        """Receipts, when what they say is durable."""
        results = checked_results(request)
        return ResultsResponse(tuple(await self._core.finish(self._settler.deliver(worker, results))))

    async def release(self, worker: Worker, request: ReleaseRequest) -> None:
        """Take leases back; those of others, or ended ones, are passed over."""
        core = self._core
        message = words(request.message, MAX_MESSAGE) or "the worker handed it back"
        named = [core.leases.held(task_key(hold.task), hold.attempt, worker=worker.id) for hold in request.holds]
        leases = [lease for lease in named if lease is not None]
        await self._hand_back(worker, leases, message, unstarted=request.unstarted)

    async def leave(self, worker: Worker) -> None:
        """End the session; what is still held goes back to the queue.

        A worker hands back what it began before it leaves, so of what is left it has not heard: the answer that granted
        it came when it was leaving already.
        """
        core = self._core
        core.workers.leave(worker)
        core.waiting.wake_worker(worker)
        await self._hand_back(worker, core.leases.of_worker(worker.id), "the worker left", unstarted=True)
        core.worker_changed(worker.pool, worker.name)

    async def _hand_back(self, worker: Worker, leases: Sequence[Lease], message: str, *, unstarted: bool) -> None:
        """Only a first attempt is handed back for free: a task cannot go round for ever."""
        message = f"worker {worker.id}: {message}"
        free = [lease for lease in leases if unstarted and lease.attempt == 1]
        charged = [lease for lease in leases if lease not in free]
        for failure, some in ((FailureClass.UNSTARTED, free), (FailureClass.DISRUPTED, charged)):
            await self._core.finish(self._settler.lose(some, failure, reason="Released", message=message))

    async def output(self, worker: Worker, request: OutputRequest) -> None:
        """Keep running output of held tasks; the rest is dropped. TooLarge: more than a blob for one attempt."""
        core = self._core
        pieces = []
        for chunk in request.chunks:
            key = task_key(chunk.task)
            lease = core.leases.held(key, chunk.attempt, worker=worker.id)
            if lease is None or not chunk.data or not 0 <= chunk.offset < MAX_OFFSET:
                continue
            cost = len(chunk.data) + CHUNK_COST
            if lease.output_bytes + cost > MAX_BLOB_BYTES:
                raise TooLarge(
                    f"{chunk.task} attempt {chunk.attempt} wrote over {MAX_BLOB_BYTES} bytes of output",
                    hint="the rest is not kept; write less, or to a file",
                )
            lease.output_bytes += cost
            pieces.append(OutputPiece(key, chunk.attempt, chunk.stream, chunk.offset, chunk.data))
        if pieces:
            await core.keep(core.store.append_output(core.epoch, pieces))
