"""Conditions as the API wants them, computed from what is true now and what the object said before.

The pressure: `kubectl wait`, GitOps health checks and alerts read conditions literally, and every write of
status wakes every watcher. What must stay true: lastTransitionTime moves only when the status of a condition
changes; every entry carries observedGeneration; the order of entries is the order of the wishes, so that equal
states give equal lists and nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mahavishnu_operator.api.reasons import ConditionType, Reason

MESSAGE_LIMIT = 1024  # characters; a traceback belongs to the log


@dataclass(frozen=True, slots=True)
class Wish:
    """What a condition should say now. `status` None is written Unknown."""

    type: ConditionType
    status: bool | None
    reason: Reason
    message: str = ""


def timestamp(seconds: float) -> str:
    """Seconds since the Unix epoch as metav1.Time writes them: RFC 3339, UTC, whole seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(text: str) -> float:
    """The inverse of `timestamp`; also reads fractions and offsets. ValueError for anything else."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def merge(
    old: Iterable[Mapping[str, Any]], wishes: Sequence[Wish], *, now: float, generation: int
) -> list[dict[str, Any]]:
    """The list to write: one entry a wish; entries of other types are kept as they are, after ours."""
    before = {entry["type"]: entry for entry in old}
    merged: list[dict[str, Any]] = []
    for wish in wishes:
        status = {True: "True", False: "False", None: "Unknown"}[wish.status]
        previous = before.pop(wish.type.value, None)
        unchanged = previous is not None and previous["status"] == status
        merged.append(
            {
                "type": wish.type.value,
                "status": status,
                "reason": wish.reason.value,
                "message": shorten(wish.message),
                "lastTransitionTime": previous["lastTransitionTime"] if previous and unchanged else timestamp(now),
                "observedGeneration": generation,
            }
        )
    return [*merged, *(dict(entry) for entry in before.values())]


def find(status: Mapping[str, Any], type_: ConditionType) -> Mapping[str, Any] | None:
    """The condition of that type in a status, or None."""
    return next((c for c in status.get("conditions") or () if c.get("type") == type_.value), None)


def is_true(status: Mapping[str, Any], type_: ConditionType) -> bool:
    """Whether that condition is there and says True."""
    entry = find(status, type_)
    return entry is not None and entry.get("status") == "True"


def shorten(message: str, limit: int = MESSAGE_LIMIT) -> str:
    """The message, or its beginning and the words how much was cut: nothing is cut silently."""
    if len(message) <= limit:
        return message
    note = f" ... ({len(message)} characters in all)"
    return message[: limit - len(note)] + note
