"""The clock of the dispatcher: leases run out, silent workers are forgotten.

The pressure: a dispatcher that was stopped for a while (SIGSTOP, a starved machine) wakes up to deadlines that
nobody could meet. What must stay true: a lease ends by its deadline even when nobody calls; time in which this
process did not run is not held against workers.
"""

from __future__ import annotations

import asyncio

import structlog

from mahavishnu_operator.api.reasons import FailureClass

from .core import Core
from .errors import TryAgain
from .leases import Lease
from .outcomes import Settler

log = structlog.get_logger(__name__)
SILENT_LEASES = 3.0  # a worker not heard of for that many lease times is forgotten


class Timekeeper:
    """Ends what is overdue."""

    def __init__(self, core: Core, settler: Settler) -> None:
        self._core, self._settler = core, settler

    async def run(self) -> None:
        """End leases past their deadline and forget silent workers, until the dispatcher stops.

        When this process itself did not run (stopped, starved), nobody could renew: deadlines move by as much.
        """
        core = self._core
        tick = min(1.0, core.pace.lease_seconds / 4)
        look_at = core.clock()
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
                if core.clock() >= look_at:  # at all workers: not for each lease that is renewed
                    self.forget_silent(core.clock())
                    look_at = core.clock() + tick

    async def end_overdue(self, now: float) -> None:
        """End the leases that ran out before `now`."""
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

    def forget_silent(self, now: float) -> None:
        """Forget workers that were not heard of for long."""
        core = self._core
        silent = SILENT_LEASES * core.pace.lease_seconds
        for worker in core.workers.all():
            if worker.calls == 0 and core.held(worker) == 0 and now - worker.last_seen > silent:
                log.info("worker was not heard of and is forgotten", worker=worker.id, seconds=round(silent, 1))
                core.workers.remove(worker)
                core.worker_changed(worker.pool, worker.name)
