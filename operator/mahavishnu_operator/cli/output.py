"""How answers are printed: a table for people, JSON or YAML for programs.

The pressure: names and messages come from scanned code, and a terminal obeys what it is sent. What must
stay true: reports and tables go to stdout, everything else to stderr; control characters are shown, not
sent; no colour off a terminal or under NO_COLOR; JSON output is one document, the objects as stored.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from mahavishnu_operator.resources.conditions import find_condition
from mahavishnu_operator.resources.protocol import SCAN_JOB, Kind, Obj
from mahavishnu_operator.support.text import printable


class OutputFormat(StrEnum):
    """Values of --output."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def dump(value: Any, form: OutputFormat) -> str:
    """JSON or YAML text of a JSON value."""
    if form is OutputFormat.JSON:
        return json.dumps(value, indent=2, ensure_ascii=True)
    import yaml  # only this branch needs it

    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=False).rstrip("\n")


def show(value: Any, form: OutputFormat, table: str) -> None:
    """Print an answer: the value for programs, the table for people."""
    print(table if form is OutputFormat.TABLE else dump(value, form))


def as_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns padded with spaces, three apart, as kubectl prints them."""
    cells = [list(headers), *[[printable(c) for c in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    return "\n".join("   ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def age(since: str, *, now: datetime | None = None) -> str:
    """How long ago an RFC 3339 time was: 45s, 12m, 5h, 3d; `<unknown>` when it cannot be read."""
    try:
        then = datetime.fromisoformat(since)
    except ValueError:
        return "<unknown>"
    seconds = max(0, int(((now or datetime.now(UTC)) - then).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def as_page(rows: Sequence[tuple[str, str]]) -> str:
    """`Name:  value` lines with the values in one column."""
    width = max(len(name) for name, _ in rows) + 3
    return "\n".join(f"{name + ':':<{width}}{printable(value)}".rstrip() for name, value in rows)


def object_table(kind: Kind, objects: Sequence[Obj], *, all_namespaces: bool) -> str:
    """The objects of one kind as `get` prints them."""
    headers, row = (_JOB_HEADERS, _job_row) if kind is SCAN_JOB else (_POOL_HEADERS, _pool_row)
    rows = [([_namespace(o)] if all_namespaces else []) + row(o) for o in objects]
    return as_table((["NAMESPACE"] if all_namespaces else []) + headers, rows)


_POOL_HEADERS = ["NAME", "BACKEND", "WANTED", "READY", "BUSY", "QUEUED", "STATUS", "AGE"]  # as kubectl's
_JOB_HEADERS = ["NAME", "PHASE", "VERDICT", "DONE", "FINDINGS", "AGE"]


def _namespace(obj: Obj) -> str:
    return str(obj["metadata"].get("namespace", ""))


def _pool_row(obj: Obj) -> list[str]:
    meta, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
    counts = [str(status.get(name, 0)) for name in ("ready", "busy", "pendingTasks")]
    ready = find_condition(obj, "Ready")
    state = "Pending" if ready is None else str(ready["reason"])
    wanted = str(spec.get("replicas", "-"))
    return [meta["name"], spec["backend"], wanted, *counts, state, age(meta.get("creationTimestamp", ""))]


def _job_row(obj: Obj) -> list[str]:
    status = obj.get("status") or {}
    tasks = status.get("tasks") or {}
    done = sum(tasks.get(name, 0) for name in ("succeeded", "failed", "cached", "cancelled"))
    findings = (status.get("findings") or {}).get("total")
    meta = obj["metadata"]
    return [
        meta["name"],
        status.get("phase", "Pending"),
        status.get("verdict", "Pending"),
        f"{done}/{tasks.get('total', 0)}",
        "-" if findings is None else str(findings),
        age(meta.get("creationTimestamp", "")),
    ]


class Outputs:
    """What tasks wrote, copied to stdout as bytes: it is the tools' own. A heading is a line of its own."""

    def __init__(self) -> None:
        self._in_a_line = False

    def write(self, page: bytes, *, heading: str = "") -> None:
        """The next piece; `heading`: the task that it is the first of."""
        if heading:
            sys.stdout.buffer.write(b"\n" * self._in_a_line + f"==> {heading} <==\n".encode())
        sys.stdout.buffer.write(page)
        sys.stdout.buffer.flush()
        self._in_a_line = not page.endswith(b"\n")


def say(text: str) -> None:
    """A line for the person, on stderr; its words may be a tool's own."""
    print(printable(text), file=sys.stderr, flush=True)
