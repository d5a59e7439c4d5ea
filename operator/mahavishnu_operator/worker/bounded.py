"""Work of our own on hostile input (listing a tree, parsing output) within a time, in a thread.

A thread cannot be stopped. So when its time is over the answer is given without it, and the runner that
still has the thread is replaced: its answer is marked `last`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal, TypeVar

T = TypeVar("T")


class OutOfTime(Exception):
    """The work was not done in time, and goes on in a thread that nobody waits for."""

    def __init__(self, stopped_by: Literal["TimedOut", "Cancelled"]) -> None:
        super().__init__(stopped_by)
        self.stopped_by = stopped_by


async def in_thread(work: Callable[[], T], *, seconds: float, cancel: asyncio.Future[None]) -> T:
    """What `work` answers. OutOfTime after `seconds`, or as soon as `cancel` is done."""
    working = asyncio.ensure_future(asyncio.to_thread(work))
    both: set[asyncio.Future[Any]] = {working, cancel}
    await asyncio.wait(both, timeout=max(seconds, 0.0), return_when=asyncio.FIRST_COMPLETED)
    if working.done():
        return working.result()
    raise OutOfTime("Cancelled" if cancel.done() else "TimedOut")
