"""A ScanJob as a person follows it: its counts as progress, why it waits, and the signals that end the waiting."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from mahavishnu_operator.api.reasons import JobPhase, Reason
from mahavishnu_operator.dispatch.protocol import JobProgress
from mahavishnu_operator.resources.conditions import find_condition
from mahavishnu_operator.resources.protocol import Obj
from mahavishnu_operator.store.records import JobState
from mahavishnu_operator.support.errors import MahavishnuError

from .output import say
from .progress import Progress

_ORDINARY = (Reason.PENDING, Reason.PLANNING, Reason.RUNNING, Reason.AGGREGATING, Reason.ARCHIVE_AWAITED)
T = TypeVar("T")


class Telling:
    """Shows each change of a ScanJob once."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._said = progress, ""

    def __call__(self, obj: Obj) -> None:
        """Show where it stands now."""
        status = obj.get("status") or {}
        tasks = status.get("tasks") or {}
        if total := int(tasks.get("total", 0)):  # the plan, which statuses do not count, is one more
            ended = sum(int(tasks.get(name, 0)) for name in ("succeeded", "cached", "failed", "cancelled"))
            running = int(tasks.get("running", 0))
            self._progress.show(JobProgress(JobState.OPEN, total=total + 1, succeeded=ended + 1, running=running))
        words = why_it_waits(obj)
        if words and words != self._said:
            say(f"waiting: {words}")
        self._said = words


def why_it_waits(obj: Obj) -> str:
    """Why a ScanJob does not get on; empty: it does, or has ended."""
    ready = find_condition(obj, "Ready") or {}
    waits = ready.get("reason") not in _ORDINARY and not has_ended(obj)
    return str(ready.get("message") or "") if waits else ""


def has_ended(obj: Obj) -> bool:
    """Nothing of the ScanJob changes any more."""
    return JobPhase((obj.get("status") or {}).get("phase") or JobPhase.PENDING).terminal


async def unless_interrupted(
    work: Coroutine[Any, Any, T], signals: asyncio.Queue[signal.Signals]
) -> tuple[T | None, signal.Signals | None]:
    """The result, or the signal by which a person ended it before."""
    working, pressed = asyncio.create_task(work), asyncio.create_task(signals.get())
    try:
        await asyncio.wait({working, pressed}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result(), None
        return None, pressed.result()
    finally:
        for task in (working, pressed):
            task.cancel()
            with suppress(asyncio.CancelledError, MahavishnuError):
                await task
