"""Who works here: registering, and being declared dead.

The pressure: after a restart every worker comes back at once with what it holds, and a process that was
thought dead may come back beside its successor. What must stay true: a token opens a session for its own
worker alone; a lease that its worker still holds is renewed, not taken away; what another process of the
same name held ends at once.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

import structlog

from mahavishnu_operator.api.reasons import FailureClass
from mahavishnu_operator.api.wire import OLDEST_PROTOCOL, PROTOCOL, Hold, RegisterRequest, RegisterResponse

from .core import Core
from .errors import Forbidden, NotLeader, ProtocolUnsupported, TokenUnknown
from .limits import check_register
from .lookahead import AHEAD_SECONDS
from .outcomes import Settler
from .protocol import Identify, Identity
from .workers import Worker, digest, worker_id

log = structlog.get_logger(__name__)


class Admission:
    """Opens and ends sessions. Methods raise CallRefused."""

    def __init__(self, core: Core, settler: Settler) -> None:
        self._core, self._settler = core, settler
        self._identify: Identify | None = None

    def ask(self, identify: Identify) -> None:
        """Ask this about tokens that were not issued here."""
        self._identify = identify

    async def _identity(self, token: str) -> Identity | None:
        sha256 = digest(token)
        found = await self._core.store.find_token(sha256)
        if found is not None and hmac.compare_digest(found.token_sha256, sha256):
            return Identity(found.pool, found.worker, guarded=False)
        return None if self._identify is None else await self._identify(token)

    async def register(self, token: str, request: RegisterRequest) -> RegisterResponse:
        """Open a session; leases that the worker still holds are its own again."""
        core = self._core
        core.check_alive()
        found = await self._identity(token)
        if found is None:
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
        session, worker, before = core.workers.register(
            request, wall=core.wall(), now=core.clock(), guarded=found.guarded, once=found.once
        )
        if found.guarded:
            core.marks.meet(worker.id)
        await self._settle_holds(worker, before, request.holds)
        core.worker_changed(worker.pool, worker.name)
        pace = core.pace
        return RegisterResponse(
            session=session,
            epoch=core.epoch,
            lease_seconds=pace.lease_seconds,
            renew_seconds=pace.renew_seconds,
            max_batch=pace.max_batch,
            ahead_seconds=AHEAD_SECONDS,
            poll_seconds=pace.poll_seconds,
        )

    async def _settle_holds(self, worker: Worker, before: Worker | None, holds: Sequence[Hold]) -> None:
        """Renew what the worker says it holds; what another process of that name held ends now.

        What the same process, or one that an earlier dispatcher knew, does not name is left to its deadline:
        the answer that granted it may be on its way.
        """
        core = self._core
        if before is not None:
            core.waiting.wake_worker(before)
        named = {(hold.task, hold.attempt) for hold in holds}
        now = core.clock()
        orphans = []
        for lease in core.leases.of_worker(worker.id):
            if (str(lease.key), lease.attempt) in named:
                lease.deadline = now + lease.seconds
                worker.idle_from = None
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

    async def gone(self, *, pool: str, worker: str, message: str, failure: FailureClass, reason: str) -> None:
        """A worker's process is dead: its leases end now, its session and token with it."""
        core = self._core
        id_ = worker_id(pool, worker)
        registered = core.workers.by_id(id_)
        if registered is not None:
            core.workers.remove(registered)
            core.waiting.wake_worker(registered)
        core.workers.forget_marks(id_)
        await core.keep(core.store.drop_tokens(core.epoch, pool=pool, worker=worker))
        await core.finish(
            self._settler.lose(
                core.leases.of_worker(id_),
                failure,
                reason=reason,
                message=message or f"the process of worker {id_} has ended",
            )
        )
        core.worker_changed(pool, worker)
        if core.stopped:
            raise NotLeader("this dispatcher has stopped", hint="try again: its successor answers")
