"""The cells of `kubectl get`: JSONPath of printer columns, and ages in kubectl's own words. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from mahavishnu_operator.resources.schemas import Column

_STEP = re.compile(
    r"""\.(?P<name>[A-Za-z_][\w-]*)
      | \['(?P<quoted>[^']*)'\]
      | \[(?P<index>\d+)\]
      | \[\?\(@\.(?P<key>\w+)\s*==\s*(?P<quote>["'])(?P<value>[^"']*)(?P=quote)\)\]""",
    re.VERBOSE,
)


def evaluate(path: str, obj: Any) -> Any:
    """The value at a simple JSONPath (`.a.b`, `[0]`, `[?(@.type=="Ready")]`), or None. ValueError for other paths."""
    at = 0
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            raise ValueError(f"the JSONPath {path!r} is not supported at {path[at:]!r}")
        at = step.end()
        obj = _descend(obj, step)
    return obj


def _descend(obj: Any, step: re.Match[str]) -> Any:
    if step["index"] is not None:
        return obj[int(step["index"])] if isinstance(obj, list) and int(step["index"]) < len(obj) else None
    if step["key"] is not None:
        items = obj if isinstance(obj, list) else []
        return next((i for i in items if isinstance(i, dict) and i.get(step["key"]) == step["value"]), None)
    name = step["name"] if step["name"] is not None else step["quoted"]
    return obj.get(name) if isinstance(obj, dict) else None


def cell(column: Column, obj: Any, *, now: datetime) -> Any:
    """The cell of this object in that column; None where there is no value."""
    value = evaluate(column.path, obj)
    if value is None:
        return None
    match column.type:
        case "date":
            return age(value, now=now)
        case "integer" | "number" | "boolean":
            return value
        case _:
            return value if isinstance(value, str) else str(value)


def age(since: Any, *, now: datetime) -> str:
    """The time since then as kubectl shows ages: 45s, 3m10s, 15m, 4h5m, 3d2h, 2y."""
    try:
        then = datetime.fromisoformat(str(since)).astimezone(UTC)
    except ValueError:
        return "<unknown>"
    seconds = int((now - then).total_seconds())
    if seconds < 0:
        return "0s" if seconds > -2 else "<invalid>"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    years = days // 365
    if seconds < 120:
        return f"{seconds}s"
    for limit, large, unit, small, part in (
        (minutes < 10, minutes, "m", seconds % 60, "s"),
        (minutes < 180, minutes, "m", 0, ""),
        (hours < 8, hours, "h", minutes % 60, "m"),
        (hours < 48, hours, "h", 0, ""),
        (days < 8, days, "d", hours % 24, "h"),
        (years < 2, days, "d", 0, ""),
        (years < 8, years, "y", days % 365, "d"),
    ):
        if limit:
            return f"{large}{unit}{small}{part}" if small else f"{large}{unit}"
    return f"{years}y"
