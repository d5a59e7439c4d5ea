"""Lease requests that wait for a task, and who of them is woken.

The pressure: thousands of workers wait at once, and a task that is queued must reach one of them now, not at
the next look; waking all of them for one task would cost more than the task. What must stay true: one task
wakes one request that can take it; a wake that is not used is passed on; nothing polls.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from .callers import Caller
from .errors import ClientGone
from .ledger import Ledger
from .queue import TaskQueue
from .workers import Worker


@dataclass(slots=True, eq=False)
class _Waiter:
    """A lease request that waits; the future is answered True when there may be a task."""

    worker: Worker
    woken: asyncio.Future[bool]


@dataclass(slots=True, eq=False)
class _Line:
    """Who waits for tasks of a pool, in the order of asking, and the alarm for the first delayed task."""

    waiters: deque[_Waiter] = field(default_factory=deque)
    alarm: asyncio.TimerHandle | None = None
    alarm_at: float = 0.0


class Waiting:
    """Waiting lease requests by pool. `can_take`: whether a worker may be leased the next task of a job now."""

    def __init__(self, ledger: Ledger, *, clock: Callable[[], float], can_take: Callable[[Worker, str], bool]) -> None:
        self._ledger, self._clock, self._can_take = ledger, clock, can_take
        self._lines: dict[str, _Line] = {}

    async def wait(self, worker: Worker, seconds: float, *, caller: Caller | None) -> bool:
        """Wait until there may be a task for this worker: False when the time is up or it shall look at its state.

        ClientGone when the caller hangs up first.
        """
        line = self._lines.setdefault(worker.pool, _Line())
        waiter = _Waiter(worker, asyncio.get_running_loop().create_future())
        line.waiters.append(waiter)
        self.wake(worker.pool)
        try:
            await asyncio.wait(
                {waiter.woken} if caller is None else {waiter.woken, caller.gone()},
                timeout=max(0.0, seconds),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if caller is not None and caller.left:
                raise ClientGone("the worker hung up while it waited for a task")
            return waiter.woken.done() and waiter.woken.result()
        except BaseException:
            if waiter.woken.done() and waiter.woken.result():
                self.wake(worker.pool)
            raise
        finally:
            if not waiter.woken.done():
                waiter.woken.cancel()
                line.waiters.remove(waiter)

    def wake(self, pool: str) -> None:
        """Wake the first who waits and can take the next task; set the alarm for the first that is delayed.

        A task that waits for one worker alone, or for a free slot, must not keep a delayed one from its alarm.
        """
        line = self._lines.get(pool)
        if line is None or not line.waiters:
            return
        now = self._clock()
        waiter = self._next(line, self._ledger.pool(pool).queue, now)
        if waiter is not None:
            line.waiters.remove(waiter)
            waiter.woken.set_result(True)
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
        for waiter in line.waiters:
            name = waiter.worker.name
            uid = queue.peek(now, name) if queue.reserves_for(name) else for_all
            if uid is not None and self._can_take(waiter.worker, uid):
                return waiter
        return None

    def _ring(self, pool: str) -> None:
        self._lines[pool].alarm = None
        self.wake(pool)

    def wake_worker(self, worker: Worker) -> None:
        """Let the requests of one worker look again: it shall drain, or its session has ended."""
        line = self._lines.get(worker.pool)
        if line is None:
            return
        for waiter in [waiter for waiter in line.waiters if waiter.worker is worker]:
            line.waiters.remove(waiter)
            waiter.woken.set_result(False)

    def end(self) -> None:
        """Let every request look again: the dispatcher has stopped."""
        for line in self._lines.values():
            if line.alarm is not None:
                line.alarm.cancel()
            while line.waiters:
                line.waiters.popleft().woken.set_result(False)
