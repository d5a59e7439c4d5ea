"""Lease requests that wait for a task, and who of them is woken.

The pressure: thousands of workers wait at once, and a task that is queued must reach one of them now, not at
the next look; waking all of them for one task would cost more than the task, and marking several for it two writes to
the cluster each. What must stay true: one task wakes one request that can take it; a wake that is not used is passed
on; a worker that has to be marked first is woken only for a task that is nobody's yet, neither of one that was woken
nor of one that is being marked; nothing polls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from .callers import Caller
from .errors import ClientGone
from .ledger import Ledger
from .queue import TaskQueue
from .workers import Worker

CLAIM_SECONDS = 2.0  # a mark that takes longer keeps no task from the next one


@dataclass(slots=True, eq=False)
class _Waiter:
    """A lease request that waits; the future is answered True when there may be a task."""

    worker: Worker
    woken: asyncio.Future[bool]

    @property
    def was_woken(self) -> bool:
        """It was told that there may be a task."""
        return self.woken.done() and not self.woken.cancelled() and self.woken.result()


@dataclass(slots=True, eq=False)
class Claim:
    """So many tasks that a worker is going to take, which is being marked, or waits for its turn to be.

    It lapses after CLAIM_SECONDS, in which the turn is not counted: who has none keeps nobody from being marked.
    """

    tasks: int
    lapse: asyncio.TimerHandle | None = None  # None: it waits for its turn


@dataclass(slots=True, eq=False)
class _Line:
    """Who waits for tasks of a pool, in the order of asking, and the alarm for the first delayed task.

    `at_once` need no mark, or have it. `spoken_for`: tasks of those who were woken, of those who are being marked, and
    of those who wait for their turn to be, who alone are `queueing`.
    """

    at_once: dict[_Waiter, None] = field(default_factory=dict)
    unmarked: dict[_Waiter, None] = field(default_factory=dict)
    spoken_for: int = 0
    queueing: int = 0
    alarm: asyncio.TimerHandle | None = None
    alarm_at: float = 0.0

    def waiters(self) -> Iterator[_Waiter]:
        """All of them."""
        return iter((*self.at_once, *self.unmarked))

    def answer(self, waiter: _Waiter, woken: bool) -> None:
        """Take one out of the line."""
        self.at_once.pop(waiter, None)
        self.unmarked.pop(waiter, None)
        waiter.woken.set_result(woken)


class Waiting:
    """Waiting lease requests by pool.

    `can_take`: whether a worker may be leased the next task of a job now; `unmarked`: whether it must be marked before.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        clock: Callable[[], float],
        can_take: Callable[[Worker, str], bool],
        unmarked: Callable[[Worker], bool],
    ) -> None:
        self._ledger, self._clock, self._can_take, self._unmarked = ledger, clock, can_take, unmarked
        self._lines: dict[str, _Line] = {}

    async def wait(self, worker: Worker, seconds: float, *, caller: Caller | None) -> bool:
        """Wait until there may be a task for this worker: False when the time is up or it shall look at its state.

        ClientGone when the caller hangs up first.
        """
        line = self._lines.setdefault(worker.pool, _Line())
        waiter = _Waiter(worker, asyncio.get_running_loop().create_future())
        (line.unmarked if self._unmarked(worker) else line.at_once)[waiter] = None
        self.wake(worker.pool)
        try:
            try:
                await asyncio.wait(
                    {waiter.woken} if caller is None else {waiter.woken, caller.gone()},
                    timeout=max(0.0, seconds),
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                if waiter.was_woken:
                    line.spoken_for -= worker.slots
                elif not waiter.woken.done():
                    line.answer(waiter, False)
            if caller is not None and caller.left:
                raise ClientGone("the worker hung up while it waited for a task")
            return waiter.was_woken
        except BaseException:
            if waiter.was_woken:
                self.wake(worker.pool)
            raise

    def may_be_marked(self, worker: Worker) -> bool:
        """Whether there is a task that this worker could start and that is nobody's yet."""
        line = self._lines.get(worker.pool)
        return self._has_task(worker, beside=line.spoken_for if line is not None else 0)

    def _has_task(self, worker: Worker, *, beside: int) -> bool:
        """Whether this worker could start a task now, when so many are others'."""
        queue = self._ledger.pool(worker.pool).queue
        uid = queue.peek(self._clock(), worker.name)
        if uid is None or not self._can_take(worker, uid):
            return False
        return queue.startable > beside or queue.has_own(worker.name)

    @contextmanager
    def claiming(self, worker: Worker) -> Iterator[Claim]:
        """While a worker is marked: what it is going to take is kept from others that would have to be marked.

        A marked one may have it all the same: it is there first.
        """
        line = self._lines.setdefault(worker.pool, _Line())
        own = self._ledger.pool(worker.pool).queue.has_own(worker.name)
        claim = Claim(0 if own else worker.slots)
        line.spoken_for += claim.tasks
        self._let_lapse(worker.pool, claim)
        self.wake(worker.pool)  # there may be more tasks than this one takes
        try:
            yield claim
        finally:
            if claim.lapse is None:
                line.queueing -= claim.tasks
            else:
                claim.lapse.cancel()
            line.spoken_for -= claim.tasks
            claim.tasks = 0
            asyncio.get_running_loop().call_soon(self.wake, worker.pool)  # when it has taken what it claimed

    def await_turn(self, worker: Worker, claim: Claim) -> None:
        """Its mark is about to be written, as soon as there is room among the writes that go on."""
        if claim.lapse is not None:
            claim.lapse.cancel()
            claim.lapse = None
            self._lines[worker.pool].queueing += claim.tasks

    def take_turn(self, worker: Worker, claim: Claim) -> bool:
        """Its mark could be written now. False: others have taken what it claimed, and it need not be marked."""
        line = self._lines[worker.pool]
        if not self._has_task(worker, beside=line.spoken_for - line.queueing):
            return False
        line.queueing -= claim.tasks
        self._let_lapse(worker.pool, claim)
        return True

    def _let_lapse(self, pool: str, claim: Claim) -> None:
        claim.lapse = asyncio.get_running_loop().call_later(CLAIM_SECONDS, self._lapse, pool, claim)

    def _lapse(self, pool: str, claim: Claim) -> None:
        self._lines[pool].spoken_for -= claim.tasks
        claim.tasks = 0
        self.wake(pool)

    def wake(self, pool: str) -> None:
        """Wake the first who waits and can take the next task; set the alarm for the first that is delayed.

        A task that waits for one worker alone, or for a free slot, must not keep a delayed one from its alarm.
        """
        line = self._lines.get(pool)
        if line is None or not (line.at_once or line.unmarked):
            return
        now = self._clock()
        waiter = self._next(line, self._ledger.pool(pool).queue, now)
        if waiter is not None:
            line.spoken_for += waiter.worker.slots
            line.answer(waiter, True)
            return
        ripe = self._ledger.pool(pool).queue.next_ripe()
        if ripe is None or (line.alarm is not None and line.alarm_at == ripe):
            return
        if line.alarm is not None:
            line.alarm.cancel()
        line.alarm_at = ripe
        line.alarm = asyncio.get_running_loop().call_later(max(0.0, ripe - now), self._ring, pool)

    def _next(self, line: _Line, queue: TaskQueue, now: float) -> _Waiter | None:
        for_all = queue.peek(now)
        if for_all is None and not queue.reserves:
            return None
        found = None
        cooled = []
        for waiter in line.at_once:
            if self._unmarked(waiter.worker):  # its mark was taken back while it waited
                cooled.append(waiter)
                continue
            name = waiter.worker.name
            uid = queue.peek(now, name) if queue.reserves_for(name) else for_all
            if uid is not None and self._can_take(waiter.worker, uid):
                found = waiter
                break
        for waiter in cooled:
            del line.at_once[waiter]
            line.unmarked[waiter] = None
        if found is None and (queue.startable > line.spoken_for or queue.reserves):
            return next((waiter for waiter in line.unmarked if self.may_be_marked(waiter.worker)), None)
        return found

    def _ring(self, pool: str) -> None:
        self._lines[pool].alarm = None
        self.wake(pool)

    def wake_worker(self, worker: Worker) -> None:
        """Let the requests of one worker look again: it shall drain, or its session has ended."""
        line = self._lines.get(worker.pool)
        if line is None:
            return
        for waiter in line.waiters():
            if waiter.worker is worker:
                line.answer(waiter, False)

    def end(self) -> None:
        """Let every request look again: the dispatcher has stopped."""
        for line in self._lines.values():
            if line.alarm is not None:
                line.alarm.cancel()
            for waiter in line.waiters():
                line.answer(waiter, False)
