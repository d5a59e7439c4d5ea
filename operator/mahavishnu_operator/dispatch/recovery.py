"""Rebuilding the ledger from the store at start.

The pressure: after a crash or a take-over workers may still run what earlier dispatchers leased to them.
What must stay true: such a task is leased to nobody else before its deadline, counted from this start,
because the old deadline was measured by a clock that is gone; unless its worker is known to be dead.
"""

from __future__ import annotations

import msgspec
import structlog

from mahavishnu_operator.api.wire import TaskSpec
from mahavishnu_operator.store.records import TaskState

from .core import Core
from .leases import Lease

log = structlog.get_logger(__name__)
_SPEC = msgspec.json.Decoder(TaskSpec)


def kind_of(spec: bytes) -> type[TaskSpec]:
    """What a task asks for. msgspec.ValidationError when it is no TaskSpec."""
    return type(_SPEC.decode(spec))


async def rebuild(core: Core) -> set[str]:
    """Fill ledger and leases; the uids of closed jobs, which the store keeps for readers."""
    now = core.clock()
    jobs = await core.store.open_jobs()
    for record in jobs:
        job = core.ledger.add_job(record)
        for task in await core.store.tasks(record.uid):
            core.ledger.add_task(job, task, kind=kind_of(task.spec), now=now)
        core.changed(record.pool, record.uid)
    adopted = 0
    for grant in await core.store.open_grants():
        known = core.ledger.task(grant.key)
        if known is None or known.state is not TaskState.LEASED:
            continue  # of a closed job: nothing is expected of it any more
        core.leases.add(
            Lease(
                key=grant.key,
                attempt=grant.attempt,
                worker=grant.worker,
                deadline=core.clock() + grant.lease_seconds,
                seconds=grant.lease_seconds,
                granted_at=core.clock(),
            )
        )
        adopted += 1
    closed = {uid for uid, _ in await core.store.known_jobs()} - {record.uid for record in jobs}
    if jobs:
        log.info("dispatcher took over", epoch=core.epoch, jobs=len(jobs), leases=adopted)
    return closed
