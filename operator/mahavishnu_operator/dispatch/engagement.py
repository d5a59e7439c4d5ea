"""Telling the cluster which workers are busy, before they are.

The pressure: an eviction between a lease and the mark that protects it kills a task. So a worker whose backend guards
busy workers is marked before its first lease, and the mark is taken back only after a while without one: tasks of
milliseconds must not cost two writes each. What must stay true: a guarded worker holds a lease only while it is
marked; after a restart of this process nobody's mark is taken for granted; no more workers are being marked than there
are tasks for them (docs/adr/0023).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from mahavishnu_operator.support.errors import MahavishnuError, NotFound

from .core import Core
from .errors import TryAgain
from .marks import Keeping, Mark, Standing, decide_mark
from .waiting import Claim
from .workers import Worker, worker_id

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5
AT_ONCE = 16  # writes: each beyond those that go on anyhow is a connection with a handshake of its own

# Marks a worker (pool, name) busy or idle, wherever that is seen. Raises MahavishnuError.
SetMark = Callable[[str, str, bool], Awaitable[None]]


class Engagement:
    """Writes the marks of guarded workers. Without `mark_with` nobody is guarded."""

    def __init__(self, core: Core) -> None:
        self._core, self._marks = core, core.marks
        self._set_mark: SetMark | None = None
        self._locks: dict[str, asyncio.Lock] = {}
        self._room = asyncio.Semaphore(AT_ONCE)

    def mark_with(self, set_mark: SetMark) -> None:
        """Mark guarded workers with this from now on."""
        self._set_mark, self._marks.guarding = set_mark, True

    def see(self, *, pool: str, worker: str, marked: bool) -> None:
        """What the cluster shows of a worker now."""
        self._marks.see(worker_id(pool, worker), shown=marked)

    async def engage(self, worker: Worker) -> None:
        """Mark it busy, unless the task that waits for it is taken before its turn comes.

        TryAgain: it could not be marked, and so is leased nothing.
        """
        with self._core.waiting.claiming(worker) as claim:
            try:
                await self._write(worker, busy=True, claim=claim)
            except MahavishnuError as error:
                raise TryAgain(
                    f"worker {worker.id} could not be marked busy, and is leased nothing before it is: {error}",
                    hint="try again",
                    reason="Unreachable",
                ) from error

    async def run(self) -> None:
        """Look at the marks now and then until the dispatcher stops; what is not written by then is given up."""
        core = self._core
        looks: set[asyncio.Task[None]] = set()
        while not core.stopped:
            try:
                await asyncio.wait_for(core.ended.wait(), timeout=LOOK_SECONDS)
            except TimeoutError:
                look = core.begin(self.look())  # a write that is not answered holds up no other
                looks.add(look)
                look.add_done_callback(looks.discard)
        for look in looks:
            look.cancel()  # thousands may wait for their turn, and a successor takes nobody's mark for granted
        self._locks.clear()

    async def look(self) -> None:
        """Take the marks of idle workers back, and set those that somebody took off."""
        await asyncio.gather(*(self._correct(*due) for due in self._due()))

    def _due(self) -> list[tuple[Worker, bool]]:
        """What is to be written now."""
        found = []
        for id_ in self._marks.watched():
            if (lock := self._locks.get(id_)) is not None and lock.locked():
                continue  # its write is under way
            worker = self._core.workers.by_id(id_)
            busy = decide_mark(self._standing(worker)) if worker is not None and worker.guarded else None
            if worker is not None and busy is not None:
                found.append((worker, busy))
            else:
                self._marks.settle(id_)
        return found

    def _standing(self, worker: Worker) -> Standing:
        core = self._core
        begun = max(core.clock() if worker.idle_from is None else worker.idle_from, self._marks.set_at(worker.id))
        return Standing(
            mark=self._marks.of(worker.id),
            held=core.held(worker),
            idle_seconds=core.clock() - begun,
            cordoned=core.workers.cordoned(worker.id),
            keep_seconds=self._keeping(worker).seconds,
        )

    def _keeping(self, worker: Worker) -> Keeping:
        return self._core.ledger.pool(worker.pool).keeping

    async def _correct(self, worker: Worker, busy: bool) -> None:
        try:
            await self._write(worker, busy=busy)
        except MahavishnuError as error:
            words = "a worker could not be marked busy or idle; tried again"
            log.warning(words, worker=worker.id, busy=busy, error=str(error))

    async def _write(self, worker: Worker, *, busy: bool, claim: Claim | None = None) -> None:
        """One write at a time for a worker, and a few at a time for all."""
        set_mark = self._set_mark
        if set_mark is None:
            return
        async with self._locks.setdefault(worker.id, asyncio.Lock()):
            if claim is not None:
                self._core.waiting.await_turn(worker, claim)
            async with self._room:
                await self._write_now(set_mark, worker, busy=busy, claim=claim)

    async def _write_now(self, set_mark: SetMark, worker: Worker, *, busy: bool, claim: Claim | None) -> None:
        """Decide again, then write; from the decision to take the mark back on, it counts as unmarked."""
        core, standing = self._core, self._standing(worker)
        if not (self._marks.missing(worker) if busy else decide_mark(standing) is False):
            return
        if claim is not None and not core.waiting.take_turn(worker, claim):
            return
        if claim is not None:
            self._keeping(worker).marked(core.clock())
        elif not busy and not standing.cordoned and standing.mark is Mark.SET:
            self._keeping(worker).took_back(idle_from=core.clock() - standing.idle_seconds)
        self._marks.doubt(worker.id)
        try:
            await set_mark(worker.pool, worker.name, busy)
        except NotFound:  # it is gone, and its mark with it
            if busy:
                raise
        self._marks.wrote(worker.id, busy=busy, now=core.clock())

    def forget(self, id_: str) -> None:
        """Its process is gone."""
        self._marks.forget(id_)
        self._locks.pop(id_, None)
