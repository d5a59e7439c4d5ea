"""The calls of workers: register, lease, renew, results, output, release, leave.

The pressure: callers are on other machines, may be hostile, slow, duplicated or dead, and thousands of
them wait at once. What must stay true: a worker acts only on what was granted to it; a request that waits
is woken by what it waits for and never polls; a worker that was not heard of for long is forgotten.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog

from mahavishnu_operator.api.reasons import FailureClass
from mahavishnu_operator.api.wire import (
    MAX_BLOB_BYTES,
    OLDEST_PROTOCOL,
    PROTOCOL,
    Hold,
    LeaseRequest,
    OutputRequest,
    RegisterRequest,
    RegisterResponse,
    ReleaseRequest,
    RenewRequest,
    RenewResponse,
    ResultsRequest,
    ResultsResponse,
)
from mahavishnu_operator.store.records import OutputPiece, TaskKey

from .callers import Caller
from .core import Core
from .errors import (
    ClientGone,
    Forbidden,
    NotLeader,
    ProtocolUnsupported,
    SessionUnknown,
    TokenUnknown,
    TooLarge,
    TryAgain,
)
from .grants import Lessor
from .leases import Lease
from .ledger import Task
from .limits import MAX_MESSAGE, check_register, checked_results, task_key, words
from .outcomes import Settler
from .workers import Worker, digest

log = structlog.get_logger(__name__)
MAX_OFFSET = 2**53  # of output, in bytes
SILENT_LEASES = 3.0  # a worker not heard of for that many lease times is forgotten


class Desk:
    """Answers workers. All methods raise CallRefused."""

    def __init__(self, core: Core, lessor: Lessor, settler: Settler) -> None:
        self._core, self._lessor, self._settler = core, lessor, settler

    # --- who calls -------------------------------------------------------------------------------

    async def register(self, token: str, request: RegisterRequest) -> RegisterResponse:
        """Open a session; leases that the worker still holds are its own again."""
        core = self._core
        core.check_alive()
        sha256 = digest(token)
        found = await core.store.find_token(sha256)
        if found is None or not hmac.compare_digest(found.token_sha256, sha256):
            raise TokenUnknown(
                f"the token that worker {request.worker!r} of pool {request.pool!r} sent is not known",
                hint="it was revoked, or belongs to another installation: start the worker anew",
            )
        if not OLDEST_PROTOCOL <= request.protocol <= PROTOCOL:
            raise ProtocolUnsupported(
                f"worker {request.worker!r} speaks protocol {request.protocol}; this dispatcher speaks "
                f"{OLDEST_PROTOCOL} to {PROTOCOL}",
                hint="install the version of the dispatcher on the worker",
            )
        if (found.pool, found.worker) != (request.pool, request.worker):
            raise Forbidden(
                f"this token is for worker {found.worker!r} of pool {found.pool!r}, not for {request.worker!r} of "
                f"{request.pool!r}",
                hint="each worker has a token of its own",
            )
        check_register(request)
        core.check_alive()
        session, worker, before = core.workers.register(request, wall=core.wall(), now=core.clock())
        await self._settle_holds(worker, before, request.holds)
        core.changed(worker.pool)
        pace = core.pace
        return RegisterResponse(
            session=session,
            epoch=core.epoch,
            lease_seconds=pace.lease_seconds,
            renew_seconds=pace.renew_seconds,
            max_batch=pace.max_batch,
        )

    async def _settle_holds(self, worker: Worker, before: Worker | None, holds: Sequence[Hold]) -> None:
        """Renew what the worker says it holds; what another process of that name held ends now.

        What the same process, or one that an earlier dispatcher knew, does not name is left to its deadline:
        the answer that granted it may be on its way.
        """
        core = self._core
        if before is not None:
            core.wake_worker(before)
        named = {(hold.task, hold.attempt) for hold in holds}
        now = core.clock()
        orphans = []
        for lease in core.leases.of_worker(worker.id):
            if (str(lease.key), lease.attempt) in named:
                lease.deadline = now + lease.seconds
                worker.idle_since = None
            elif before is not None and before.incarnation != worker.incarnation:
                orphans.append(lease)
        if before is not None and before.incarnation != worker.incarnation:
            log.info("worker was replaced by another process", worker=worker.id, lost=len(orphans))
        await core.finish(
            self._settler.lose(
                orphans,
                FailureClass.WORKER_LOST,
                reason="WorkerReplaced",
                message=f"worker {worker.id} was replaced by another process of that name",
            )
        )

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

    # --- leases ----------------------------------------------------------------------------------

    async def lease(
        self, worker: Worker, request: LeaseRequest, *, caller: Caller | None = None
    ) -> tuple[list[Task], bool]:
        """Tasks leased to this worker, and whether it shall drain. ClientGone: the caller hung up meanwhile."""
        core = self._core
        until = core.clock() + min(max(0.0, request.wait_seconds), core.pace.longest_poll_seconds)
        while True:
            self._lessor.check_current(worker)
            if core.workers.draining(worker.id):
                return [], True
            chosen = self._lessor.choose(worker, request.max)
            if chosen:
                core.wake(worker.pool)  # who waits behind this one may take the rest
                return await core.finish(self._grant(worker, chosen, caller)), False
            left = until - core.clock()
            if left <= 0 or not await core.wait_for_task(worker, left, caller):
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
            lease = core.leases.held(key, hold.attempt, worker.id)
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
            if task is None or core.leases.held(key, hold.attempt, worker.id) is None:
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
        leases = [
            lease
            for hold in request.holds
            if (lease := core.leases.held(task_key(hold.task), hold.attempt, worker.id)) is not None
        ]
        await self._hand_back(worker, leases, words(request.message, MAX_MESSAGE) or "the worker handed it back")

    async def leave(self, worker: Worker) -> None:
        """End the session; what is still held goes back to the queue."""
        core = self._core
        core.workers.remove(worker)
        core.wake_worker(worker)
        await self._hand_back(worker, core.leases.of_worker(worker.id), "the worker left")
        core.changed(worker.pool)

    async def _hand_back(self, worker: Worker, leases: Sequence[Lease], message: str) -> None:
        await self._core.finish(
            self._settler.lose(
                leases,
                FailureClass.DISRUPTED,
                reason="Released",
                message=f"worker {worker.id}: {message}",
            )
        )

    async def output(self, worker: Worker, request: OutputRequest) -> None:
        """Keep running output of held tasks; the rest is dropped. TooLarge: more than a blob for one attempt."""
        core = self._core
        pieces = []
        for chunk in request.chunks:
            key = task_key(chunk.task)
            lease = core.leases.held(key, chunk.attempt, worker.id)
            if lease is None or not 0 <= chunk.offset < MAX_OFFSET:
                continue
            if lease.output_bytes + len(chunk.data) > MAX_BLOB_BYTES:
                raise TooLarge(
                    f"{chunk.task} attempt {chunk.attempt} wrote over {MAX_BLOB_BYTES} bytes of output",
                    hint="the rest is not kept; write less, or to a file",
                )
            lease.output_bytes += len(chunk.data)
            pieces.append(OutputPiece(key, chunk.attempt, chunk.stream, chunk.offset, chunk.data))
        if pieces:
            await core.keep(core.store.append_output(pieces))

    # --- time ------------------------------------------------------------------------------------

    async def keep_time(self) -> None:
        """End leases past their deadline and forget silent workers, until the dispatcher stops.

        When this process itself did not run (stopped, starved), nobody could renew: deadlines move by as much.
        """
        core = self._core
        tick = min(1.0, core.pace.lease_seconds / 4)
        while not core.stopped:
            now = core.clock()
            deadline = core.leases.next_deadline()
            pause = tick if deadline is None else min(tick, max(0.01, deadline - now))
            try:
                await asyncio.wait_for(core.ended.wait(), timeout=pause)
            except TimeoutError:
                late = core.clock() - now - pause
                if late > tick:
                    log.warning("this process did not run; deadlines are moved", seconds=round(late, 3))
                    core.leases.postpone(late)
                await self.end_overdue(core.clock())

    async def end_overdue(self, now: float) -> None:
        """End the leases that ran out before `now`, and forget workers that were silent for long."""
        core = self._core
        expired = core.leases.expired(now)
        by_worker: dict[str, list[Lease]] = {}
        for lease in expired:
            by_worker.setdefault(lease.worker, []).append(lease)
        for name, leases in by_worker.items():
            log.warning("leases ran out", worker=name, leases=len(leases))
            message = f"worker {name} did not renew its lease for {leases[0].seconds:g} s"
            try:
                await core.finish(
                    self._settler.lose(leases, FailureClass.WORKER_LOST, reason="LeaseExpired", message=message)
                )
            except TryAgain as error:
                log.warning("the end of leases could not be written; tried again", worker=name, error=str(error))
        silent = SILENT_LEASES * core.pace.lease_seconds
        for worker in core.workers.all():
            if worker.calls == 0 and core.held(worker) == 0 and now - worker.last_seen > silent:
                log.info("worker was not heard of and is forgotten", worker=worker.id, seconds=round(silent, 1))
                core.workers.remove(worker)
                core.changed(worker.pool)

    async def gone(self, pool: str, worker_name: str, id_: str, message: str) -> None:
        """A worker's process is dead: its leases end now, its session and token with it."""
        core = self._core
        worker = core.workers.by_id(id_)
        if worker is not None:
            core.workers.remove(worker)
            core.wake_worker(worker)
        core.workers.forget_drain(id_)
        await core.keep(core.store.drop_tokens(pool=pool, worker=worker_name))
        await core.finish(
            self._settler.lose(
                core.leases.of_worker(id_),
                FailureClass.WORKER_LOST,
                reason="WorkerGone",
                message=message or f"the process of worker {id_} has ended",
            )
        )
        core.changed(pool)
        if core.stopped:
            raise NotLeader("this dispatcher has stopped", hint="try again: its successor answers")
