"""Telling the cluster which workers are busy, before they are.

The pressure: an eviction between a lease and the mark that protects it kills a task. So a worker whose backend guards
busy workers is marked before its first lease, and the mark is taken back only after a while without one: tasks of
milliseconds must not cost two writes each. What must stay true: a guarded worker holds a lease only while it is
marked; after a restart of this process nobody's mark is taken for granted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from mahavishnu_operator.support.errors import MahavishnuError

from .core import Core
from .errors import TryAgain
from .workers import Worker

log = structlog.get_logger(__name__)

IDLE_SECONDS = 2.0  # without a lease before the mark goes: design of the PodDisruptionBudget
LOOK_SECONDS = 0.5

# Marks a worker (pool, name) busy or idle, wherever that is seen. Raises MahavishnuError.
Mark = Callable[[str, str, bool], Awaitable[None]]


class Engagement:
    """Which guarded workers are marked busy. Without `mark_with` nobody is guarded."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._mark: Mark | None = None
        self._marked: dict[str, bool] = {}  # by worker id; not in it: not known
        self._locks: dict[str, asyncio.Lock] = {}

    def mark_with(self, mark: Mark) -> None:
        """Mark guarded workers with this from now on."""
        self._mark = mark

    def missing(self, worker: Worker) -> bool:
        """Whether this worker must be marked before it may be leased anything."""
        return worker.guarded and self._mark is not None and self._marked.get(worker.id) is not True

    async def engage(self, worker: Worker) -> None:
        """Mark it busy. TryAgain: it could not be marked, and so is leased nothing."""
        try:
            await self._set(worker, busy=True)
        except MahavishnuError as error:
            raise TryAgain(
                f"worker {worker.id} could not be marked busy, and is leased nothing before it is: {error}",
                hint="try again",
                reason="Unreachable",
            ) from error

    async def run(self) -> None:
        """Take the marks of idle workers back, until the dispatcher stops."""
        core = self._core
        while not core.stopped:
            try:
                await asyncio.wait_for(core.ended.wait(), timeout=LOOK_SECONDS)
            except TimeoutError:
                await asyncio.gather(*(self._disengage(worker) for worker in core.workers.all() if self._idle(worker)))
        self._locks.clear()

    def _idle(self, worker: Worker) -> bool:
        core = self._core
        return (
            worker.guarded
            and self._mark is not None
            and self._marked.get(worker.id) is not False
            and core.held(worker) == 0
            and worker.idle_from is not None
            and core.clock() - worker.idle_from >= IDLE_SECONDS
        )

    async def _disengage(self, worker: Worker) -> None:
        try:
            await self._set(worker, busy=False)
        except MahavishnuError as error:
            log.warning("a worker could not be marked idle; tried again", worker=worker.id, error=str(error))

    async def _set(self, worker: Worker, *, busy: bool) -> None:
        """One write at a time for a worker; from the decision to take the mark back on, it counts as unmarked."""
        if self._mark is None:
            return
        async with self._locks.setdefault(worker.id, asyncio.Lock()):
            if self._marked.get(worker.id) is busy or (not busy and not self._idle(worker)):
                return
            if not busy:
                self._marked.pop(worker.id, None)
            await self._mark(worker.pool, worker.name, busy)
            self._marked[worker.id] = busy

    def forget(self, id_: str) -> None:
        """Its process is gone."""
        self._marked.pop(id_, None)
        self._locks.pop(id_, None)
