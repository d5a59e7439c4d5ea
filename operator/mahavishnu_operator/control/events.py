"""Events on our objects, from how a status changed: what `kubectl describe` shows at the end.

The pressure: a level-triggered loop sees the same state many times, and each Event is a write that costs an API server
as much as the status it speaks of. What must stay true: which events a change deserves is pure; the recorder writes
each (object, reason, message) at most every AGAIN_SECONDS, and the API counts it; no reconcile waits for an event, not
even for the server's attention: while there are reconciles to do, events go one in a moment; one that cannot be written
is logged.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import structlog

from mahavishnu_operator.api.reasons import ConditionType, EventReason, JobPhase
from mahavishnu_operator.resources.protocol import Key, Obj, Resources
from mahavishnu_operator.support.errors import MahavishnuError
from mahavishnu_operator.support.text import counted

from .conditions import find, is_true

log = structlog.get_logger(__name__)
REMEMBERED = 20_000  # (object, reason, message) and when each was last written
AGAIN_SECONDS = 10.0  # sooner, it is the same happening seen twice, or one of many
YIELD_SECONDS = 0.05  # between events while there is something better to do
MOST_WAITING = 2_000  # events that wait to be written; beyond, the oldest is left out, as client-go's recorder does


@dataclass(frozen=True, slots=True)
class Happening:
    """An Event to write."""

    reason: EventReason
    message: str
    warning: bool = False


def job_happenings(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Happening]:
    """What happened to a ScanJob between two statuses. One that ended well before its first status has only its end."""
    found: list[Happening] = []
    if "observedGeneration" not in old and is_true(new, ConditionType.COMPLETE):
        return _changed(old, new, ConditionType.COMPLETE, EventReason.COMPLETED, None)
    for type_, good, bad in (
        (ConditionType.ACCEPTED, EventReason.ACCEPTED, EventReason.REFUSED),
        (ConditionType.PLANNED, EventReason.PLANNED, None),
        (ConditionType.SUSPENDED, EventReason.SUSPENDED, EventReason.RESUMED),
        (ConditionType.COMPLETE, EventReason.COMPLETED, None),
    ):
        found += _changed(old, new, type_, good, bad)
    if is_true(new, ConditionType.FAILED) and not is_true(old, ConditionType.FAILED):
        entry = find(new, ConditionType.FAILED) or {}
        cancelled = new.get("phase") == JobPhase.CANCELLED.value
        reason = EventReason.CANCELLED if cancelled else EventReason.FAILED
        message = f"{entry.get('reason', '')}: {entry.get('message', '')}"
        found.append(Happening(reason, message, warning=not cancelled))
    return found


def pool_happenings(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Happening]:
    """What happened to a WorkerPool between two statuses."""
    found = _changed(old, new, ConditionType.ACCEPTED, EventReason.ACCEPTED, EventReason.REFUSED)
    before, after = old.get("lastScale"), new.get("lastScale")
    if after and after != before:
        found.append(
            Happening(EventReason.SCALED, f"{after['from']} to {counted(after['to'], 'worker')}: {after['reason']}")
        )
    return found


def _changed(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    type_: ConditionType,
    good: EventReason,
    bad: EventReason | None,
) -> list[Happening]:
    before, after = find(old, type_), find(new, type_)
    if after is None or (before is not None and before["status"] == after["status"]):
        return []
    if after["status"] == "True":
        return [Happening(good, after["message"])]
    if after["status"] == "False" and bad is not None:
        text = f"{after['reason']}: {after['message']}" if after["message"] else str(after["reason"])
        return [Happening(bad, text, warning=bad is EventReason.REFUSED)]
    return []


class Recorder:
    """Writes happenings as Events, one after another; what happens again later is counted. `run` does the writing.

    `busy`: whether there are reconciles to do, whose statuses come first.
    """

    def __init__(
        self,
        resources: Resources,
        *,
        busy: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resources, self._busy, self._clock = resources, busy, clock
        self._known: OrderedDict[tuple[str, EventReason, str], float] = OrderedDict()
        self._waiting: deque[tuple[Obj, Happening]] = deque()
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def record(self, obj: Obj, happenings: list[Happening]) -> None:
        """Have those written that this process did not have written a moment before."""
        now = self._clock()
        for happening in happenings:
            key = (obj["metadata"]["uid"], happening.reason, happening.message)
            if now - self._known.get(key, float("-inf")) < AGAIN_SECONDS:
                continue
            self._known[key] = now
            self._known.move_to_end(key)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
            self._waiting.append((obj, happening))
            if len(self._waiting) > MOST_WAITING:
                left_out, what = self._waiting.popleft()
                log.warning("an event was left out", object=str(Key.of(left_out)), reason=what.reason.value)
            self._idle.clear()
            self._news.set()

    async def run(self) -> None:
        """Write what is recorded, until cancelled."""
        while True:
            self._news.clear()
            while self._waiting:
                if self._busy():
                    await asyncio.sleep(YIELD_SECONDS)
                await self._write(*self._waiting.popleft())
            self._idle.set()
            await self._news.wait()

    async def flush(self, *, seconds: float) -> None:
        """Wait until all is written, but not for longer than that: events are news, not truth."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            log.warning("events were not written in time", left=len(self._waiting))

    async def _write(self, obj: Obj, happening: Happening) -> None:
        type_: Literal["Normal", "Warning"] = "Warning" if happening.warning else "Normal"
        try:
            await self._resources.record_event(
                obj, reason=happening.reason.value, message=happening.message, type_=type_
            )
        except MahavishnuError as error:
            log.warning("an event could not be written", reason=happening.reason.value, error=str(error))
