"""Answers that are good for some seconds, asked for once by however many wait for them.

The pressure: a fan-out of hundreds of calls at once, each of which asks the API server the same first. What must stay
true: an answer is never older than its seconds, counted from the question; a failure is nobody's answer later; there
are never more answers than `most`, whatever is asked.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """`get` what was asked lately, or ask."""

    def __init__(self, *, seconds: float, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._most, self._clock = seconds, most, clock
        self._known: OrderedDict[K, tuple[V, float]] = OrderedDict()
        self._asking: dict[K, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        """How many answers are held."""
        return len(self._known)

    async def get(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        """The answer to a question. Raises what asking raises."""
        known = self._known.get(key)
        if known is not None and known[1] > self._clock():
            return known[0]
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.create_task(self._ask(key, ask))
            asking.add_done_callback(_look)
        return await asyncio.shield(asking)  # others wait for it too

    async def _ask(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        until = self._clock() + self._seconds
        try:
            answer = await ask()
        finally:
            del self._asking[key]
        self._known.pop(key, None)
        self._known[key] = (answer, until)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return answer


def _look(asked: asyncio.Task[V]) -> None:
    """A failure that nobody waits for any more is no defect."""
    if not asked.cancelled():
        asked.exception()
