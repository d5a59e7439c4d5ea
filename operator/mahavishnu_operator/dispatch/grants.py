"""Leasing: choosing tasks for a worker, writing the grant, and only then answering it.

The pressure: a grant that a worker hears of and the store does not know would let a task run twice at
once after a restart. What must stay true: the grant is durable before it is answered; a grant that
nobody heard of is handed back, and ends by its deadline at the latest.
"""

from __future__ import annotations

from mahavishnu_operator.store.records import GrantRecord

from .core import Core
from .errors import SessionUnknown, TryAgain
from .leases import Lease
from .ledger import Task
from .workers import Worker

BATCH_BYTES = 1024 * 1024  # of specs in one answer; the first task goes whatever its size
FULL_SECONDS = 1.0  # how long a task waits after its grant could not be written


class Lessor:
    """Hands tasks out."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def choose(self, worker: Worker, wanted: int) -> list[Task]:
        """Take up to `wanted` tasks for a worker out of the queue; `grant` must follow.

        Beyond its free slots a worker gets only tasks that are over at once (no-ops) or soon (lookahead.py), and of
        those not more than its share: a task must not wait behind a long one while a second worker is idle.
        """
        core = self._core
        if core.takes_nothing(worker):
            return []
        pool = core.ledger.pool(worker.pool)
        now = core.clock()
        free = core.free_slots(worker)
        share = max(free, -(-len(pool.queue) // max(1, core.workers.count_of(worker.pool))))
        held = core.held(worker)
        limit = min(wanted, core.pace.max_batch, share)
        chosen: list[Task] = []
        size = 0
        while len(chosen) < limit:
            uid = pool.queue.peek(now, worker.name)
            if uid is None:
                break
            if held + len(chosen) >= core.most_held(worker, uid):
                break
            task = core.ledger.take(pool, worker=worker.name, now=now)
            if task is None:
                break
            chosen.append(task)
            size += len(task.spec)
            if size >= BATCH_BYTES:
                break
        worker.granting += len(chosen)
        core.begin_writing(chosen)
        return chosen

    async def grant(self, worker: Worker, tasks: list[Task]) -> list[Task]:
        """Write the grants of chosen tasks; those that are leased now.

        TryAgain: the store is full, the tasks wait again. SessionUnknown: the worker's registration ended
        meanwhile; the grants are left to the caller's `abandon`.
        """
        core = self._core
        records = [
            GrantRecord(
                key=task.key,
                attempt=task.attempts,
                epoch=core.epoch,
                worker=worker.id,
                granted_at=core.wall(),
                lease_seconds=core.pace.lease_seconds,
            )
            for task in tasks
        ]
        try:
            await core.write(core.store.record_grants(core.epoch, records))
        except TryAgain:
            for task in tasks:
                if core.ledger.task(task.key) is task:
                    core.ledger.untake(task, not_before=core.clock() + FULL_SECONDS)
            core.changed(worker.pool)
            core.waiting.wake(worker.pool)  # others wait too, and this worker may not come back
            raise
        finally:
            worker.granting -= len(tasks)
            core.end_writing(tasks)
        return self._hold(worker, tasks)

    def _hold(self, worker: Worker, tasks: list[Task]) -> list[Task]:
        core = self._core
        now = core.clock()
        meters = core.meters.pool(worker.pool)
        held = []
        for task in tasks:
            if core.ledger.task(task.key) is not task:
                continue  # its job was forgotten or closed while the grant was written
            core.leases.add(
                Lease(
                    key=task.key,
                    attempt=task.attempts,
                    worker=worker.id,
                    deadline=now + core.pace.lease_seconds,
                    seconds=core.pace.lease_seconds,
                    granted_at=now,
                )
            )
            meters.lease_wait.observe(max(0.0, now - task.queued_at))
            core.changed(worker.pool, task.key.job)
            held.append(task)
        meters.grants.inc(len(held))
        worker.granted += len(held)
        if held:
            worker.idle_from = None
        return held

    def check_current(self, worker: Worker) -> None:
        """SessionUnknown when the worker registered again or was declared gone."""
        if not self._core.workers.current(worker):
            raise SessionUnknown("this session has ended: the worker registered again, left, or was declared gone")
