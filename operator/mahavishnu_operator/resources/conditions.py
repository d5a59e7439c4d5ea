"""Reading the conditions of an object that may have none yet."""

from __future__ import annotations

from .protocol import Obj


def find_condition(obj: Obj, type_: str) -> Obj | None:
    """The condition of that type, if the object has it."""
    conditions = (obj.get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c.get("type") == type_), None)
