"""Events on our objects, from how a status changed: what `kubectl describe` shows at the end.

The pressure: a level-triggered loop sees the same state many times, and each Event is a write. What must stay true:
which events a change deserves is pure; the recorder writes each (object, reason, message) once; an event that
cannot be written is logged and holds nothing up.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import structlog

from mahavishnu_operator.api.reasons import ConditionType, EventReason, JobPhase
from mahavishnu_operator.resources.protocol import Obj, Resources
from mahavishnu_operator.support.errors import MahavishnuError

from .conditions import find, is_true

log = structlog.get_logger(__name__)
REMEMBERED = 20_000  # (object, reason, message) that are not written again


@dataclass(frozen=True, slots=True)
class Happening:
    """An Event to write."""

    reason: EventReason
    message: str
    warning: bool = False


def job_happenings(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Happening]:
    """What happened to a ScanJob between two statuses."""
    found: list[Happening] = []
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
        found.append(Happening(EventReason.SCALED, f"{after['from']} to {after['to']} workers: {after['reason']}"))
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
    """Writes happenings as Events, each once."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._written: OrderedDict[tuple[str, EventReason, str], None] = OrderedDict()

    async def record(self, obj: Obj, happenings: list[Happening]) -> None:
        """Write those that were not written by this process yet."""
        for happening in happenings:
            key = (obj["metadata"]["uid"], happening.reason, happening.message)
            if key in self._written:
                continue
            self._written[key] = None
            while len(self._written) > REMEMBERED:
                self._written.popitem(last=False)
            type_: Literal["Normal", "Warning"] = "Warning" if happening.warning else "Normal"
            try:
                await self._resources.record_event(
                    obj, reason=happening.reason.value, message=happening.message, type_=type_
                )
            except MahavishnuError as error:
                log.warning("an event could not be written", reason=happening.reason.value, error=str(error))
