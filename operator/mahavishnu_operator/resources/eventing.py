"""core/v1 Events on our objects: their shape, and the name by which a repeated one is found again.

The pressure: a reconciler that fails says so at every try, and each Event is a write to the API. So one
object, type, reason and message have one Event with a count; its name is derived from them, hence two
processes and two lives of one process raise the same count. Pure functions.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from mahavishnu_operator.api.reasons import GROUP

from .protocol import Obj

MAX_MESSAGE = 1024
COMPONENT = f"{GROUP}/operator"

EventKind = Literal["Normal", "Warning"]


def event_name(obj: Obj, *, reason: str, message: str, type_: str) -> str:
    """The name of the Event that says this about that very object."""
    uid = obj["metadata"].get("uid", "")
    digest = hashlib.sha256("\0".join((uid, type_, reason, message)).encode("utf-8", "replace")).hexdigest()
    return f"{obj['metadata']['name'][:200]}.{digest[:16]}"


def new_event(obj: Obj, *, reason: str, message: str, type_: EventKind, now: str) -> Obj:
    """The Event as it is first written. Longer messages are cut, which shows by their end."""
    meta = obj["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": event_name(obj, reason=reason, message=message, type_=type_),
            "namespace": meta.get("namespace", "default"),
        },
        "involvedObject": {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "name": meta["name"],
            "namespace": meta.get("namespace", "default"),
            "uid": meta.get("uid", ""),
            "resourceVersion": meta.get("resourceVersion", ""),
        },
        "reason": reason,
        "message": message if len(message) <= MAX_MESSAGE else f"{message[: MAX_MESSAGE - 3]}...",
        "type": type_,
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": "",
    }


def again(event: Obj, *, now: str) -> dict[str, Any]:
    """The merge patch that counts one more."""
    return {"count": int(event.get("count") or 0) + 1, "lastTimestamp": now}
