"""One object as a page for a person: spec and status in order, conditions with their words, events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mahavishnu_operator.resources.protocol import Obj
from mahavishnu_operator.support.text import printable

from .output import OutputFormat, age, as_page, as_table, dump


def describe_object(obj: Obj, events: Sequence[Obj]) -> str:
    """The page. Events are shown oldest first."""
    meta, status = obj["metadata"], dict(obj.get("status") or {})
    conditions = status.pop("conditions", [])
    head = as_page(
        [
            ("Name", meta["name"]),
            ("Namespace", meta.get("namespace", "")),
            ("Kind", f"{obj['kind']} ({obj['apiVersion']})"),
            ("Created", f"{meta.get('creationTimestamp', '')} ({age(meta.get('creationTimestamp', ''))} ago)"),
            ("Labels", ", ".join(f"{k}={v}" for k, v in sorted(meta.get("labels", {}).items())) or "none"),
        ]
    )
    parts = [head, "Spec:\n" + _indented(obj.get("spec") or {})]
    if status:
        parts.append("Status:\n" + _indented(status))
    parts.append("Conditions:\n" + _condition_table(conditions))
    parts.append("Events:\n" + _event_table(events))
    return "\n".join(parts)


def _indented(value: dict[str, Any]) -> str:
    return "\n".join("  " + printable(line) for line in dump(value, OutputFormat.YAML).splitlines())


def _condition_table(conditions: Sequence[Obj]) -> str:
    if not conditions:
        return "  none yet"
    rows = [
        [c["type"], c["status"], c["reason"], age(c["lastTransitionTime"]), c.get("message", "")] for c in conditions
    ]
    return _shifted(as_table(["TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"], rows))


def _event_table(events: Sequence[Obj]) -> str:
    if not events:
        return "  none"
    ordered = sorted(events, key=lambda e: str(e.get("lastTimestamp") or ""))
    rows = [
        [e["type"], e["reason"], age(str(e.get("lastTimestamp") or "")), f"x{e.get('count', 1)}", e.get("message", "")]
        for e in ordered
    ]
    return _shifted(as_table(["TYPE", "REASON", "LAST", "TIMES", "MESSAGE"], rows))


def _shifted(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())
