"""metadata.managedFields <-> Manager: Kubernetes' FieldsV1, nested on the wire, sets of paths with us.

Clients may write the list too (kubectl does, when it moves an object from client-side to server-side
apply), so what comes in is checked. What must stay true: decode(encode(x)) == x.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mahavishnu_operator.api.reasons import API_VERSION
from mahavishnu_operator.support.errors import InvalidInput

from .ownership import Manager, Path

MAX_MANAGERS = 64
MAX_DEPTH = 64


def encode(managers: Sequence[Manager]) -> list[dict[str, Any]]:
    """The value of metadata.managedFields."""
    return [
        {
            "manager": m.name,
            "operation": m.operation,
            "apiVersion": API_VERSION,
            "time": m.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": _nested(m.paths),
        }
        for m in managers
    ]


def decode(value: Any) -> tuple[Manager, ...]:
    """The managers in a metadata.managedFields; `[{}]` stands for none, as the API server has it."""
    if value is None or value == [{}]:
        return ()
    try:
        managers = tuple(_manager(entry) for entry in value)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InvalidInput(
            f"metadata.managedFields cannot be read: {error!r}", hint="leave it out, or send it as it was read"
        ) from None
    if len(managers) > MAX_MANAGERS:
        raise InvalidInput(f"metadata.managedFields has {len(managers)} entries", hint=f"at most {MAX_MANAGERS}")
    return managers


def _manager(entry: dict[str, Any]) -> Manager:
    operation = entry["operation"]
    if operation not in ("Apply", "Update") or entry.get("fieldsType", "FieldsV1") != "FieldsV1":
        raise ValueError(f"operation {operation!r}, fieldsType {entry.get('fieldsType')!r}")
    return Manager(
        str(entry.get("manager", "unknown")),
        operation,
        str(entry.get("time") or ""),
        frozenset(_paths(entry.get("fieldsV1") or {}, ())),
    )


def _nested(paths: frozenset[Path]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path in sorted(paths):
        node = tree
        for label in path:
            node = node.setdefault(label, {})
    return tree


def _paths(node: dict[str, Any], path: Path) -> Iterator[Path]:
    if len(path) > MAX_DEPTH:
        raise ValueError("nested too deeply")
    for label, child in node.items():
        if child:
            yield from _paths(child, (*path, label))
        else:
            yield (*path, label)
