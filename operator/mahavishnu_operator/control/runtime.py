"""A queue of keys to reconcile: each key once, one reconcile a key at a time, again after an error.

The pressure: watches deliver bursts, the dispatcher reports every task, and a reconciler that fails must neither be
forgotten nor run hot. What must stay true: a key added while it is being worked on is worked on once more after;
an error is logged, counted and retried with back-off; an earlier appointment is never replaced by a later one.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import structlog

from mahavishnu_operator.support.errors import MahavishnuError

log = structlog.get_logger(__name__)
K = TypeVar("K", bound=Hashable)

FIRST_BACKOFF_SECONDS = 0.25
LONGEST_BACKOFF_SECONDS = 30.0
AT_ONCE = 10  # calls to a server that are made side by side for one object
SPARE_APPOINTMENTS = 64  # overtaken appointments tolerated beyond one a key before they are cleared away


def backoff_seconds(failures: int) -> float:
    """How long to wait after that many failures in a row: 0.25, 0.5, 1 ... 30."""
    return min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(failures - 1, 10))


def earliest(*seconds: float | None) -> float | None:
    """The least of those that are not None."""
    return min((value for value in seconds if value is not None), default=None)


async def side_by_side(calls: Sequence[Coroutine[Any, Any, None]], *, at_once: int = AT_ONCE) -> None:
    """Await some calls, a few at a time; an error is raised when those beside it have ended, and no more is begun."""
    waiting = deque(calls)
    try:
        while waiting:
            some = [waiting.popleft() for _ in range(min(at_once, len(waiting)))]
            for answer in await asyncio.gather(*some, return_exceptions=True):
                if answer is not None:
                    raise answer
    finally:
        for call in waiting:
            call.close()


@dataclass
class _Entry:
    """What is known of one key: due to run, running now, failures in a row, and its next appointment."""

    due: bool = False
    running: bool = False
    failures: int = 0
    appointment: float | None = None
    added_while_running: bool = field(default=False)


class KeyedQueue(Generic[K]):
    """`work(key)` answers the seconds after which to look again, or None.

    `fatal`: errors that end `run` (and the whole engine) instead of being retried.
    """

    def __init__(
        self,
        work: Callable[[K], Awaitable[float | None]],
        *,
        name: str,
        concurrency: int = 8,
        fatal: tuple[type[Exception], ...] = (),
        on_error: Callable[[], None] = lambda: None,
    ) -> None:
        self._work, self._name, self._fatal, self._on_error = work, name, fatal, on_error
        self._concurrency = concurrency
        self._entries: dict[K, _Entry] = {}
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._appointments: list[tuple[float, int, K]] = []
        self._count = itertools.count()
        self._running = 0
        self._woken = asyncio.Event()

    def add(self, key: K) -> None:
        """Reconcile this key as soon as possible."""
        entry = self._entries.setdefault(key, _Entry())
        if entry.running:
            entry.added_while_running = True
        elif not entry.due:
            entry.due = True
            entry.appointment = None
            self._ready.put_nowait(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Reconcile this key in that many seconds, unless it happens earlier anyhow."""
        moment = asyncio.get_running_loop().time() + max(0.0, seconds)
        entry = self._entries.setdefault(key, _Entry())
        if entry.due or (entry.appointment is not None and entry.appointment <= moment):
            return
        entry.appointment = moment
        heapq.heappush(self._appointments, (moment, next(self._count), key))
        if len(self._appointments) > 2 * len(self._entries) + SPARE_APPOINTMENTS:
            self._appointments = [each for each in self._appointments if self._stands(each[0], each[2])]
            heapq.heapify(self._appointments)
        self._woken.set()

    def _stands(self, moment: float, key: K) -> bool:
        """Whether an appointment was not overtaken by another, nor by the work itself."""
        entry = self._entries.get(key)
        return entry is not None and entry.appointment == moment

    @property
    def appointments(self) -> int:
        """How many are kept, those that were overtaken and not cleared away yet included."""
        return len(self._appointments)

    @property
    def is_busy(self) -> bool:
        """Something is due or runs."""
        return self._running > 0 or not self._ready.empty()

    @property
    def idle(self) -> bool:
        """Nothing is due and nothing runs; appointments may be waiting."""
        return not any(entry.due or entry.running for entry in self._entries.values())

    async def run(self) -> None:
        """Work until cancelled, or until `work` raises one of the fatal errors."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_appointments())
            for _ in range(self._concurrency):
                group.create_task(self._keep_working())

    async def _keep_appointments(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._woken.clear()
            while self._appointments and self._appointments[0][0] <= loop.time():
                moment, _, key = heapq.heappop(self._appointments)
                if self._stands(moment, key):
                    self._entries[key].appointment = None
                    self.add(key)
            delay = self._appointments[0][0] - loop.time() if self._appointments else None
            try:
                async with asyncio.timeout(delay):
                    await self._woken.wait()
            except TimeoutError:
                continue  # the first appointment is due

    async def _keep_working(self) -> None:
        while True:
            key = await self._ready.get()
            entry = self._entries[key]
            entry.due, entry.running, entry.added_while_running = False, True, False
            self._running += 1
            again: float | None = None
            try:
                again = await self._work(key)
                entry.failures = 0
            except self._fatal:
                raise
            except Exception as error:  # noqa: BLE001 -- whatever it is, the key is tried again and the error is logged
                entry.failures += 1
                again = backoff_seconds(entry.failures)
                self._on_error()
                self._say(key, error, again)
            finally:
                self._running -= 1
                entry.running = False
            if entry.added_while_running:
                if entry.failures == 0:
                    self.add(key)
                else:
                    self.add_after(key, again or 0.0)
            elif again is not None:
                self.add_after(key, again)
            elif entry.appointment is None and not entry.due:
                del self._entries[key]

    def _say(self, key: K, error: Exception, again: float) -> None:
        if isinstance(error, MahavishnuError):
            log.warning("reconcile failed", queue=self._name, key=str(key), error=str(error), again_in=again)
        else:
            log.error("reconcile failed", queue=self._name, key=str(key), again_in=again, exc_info=error)
