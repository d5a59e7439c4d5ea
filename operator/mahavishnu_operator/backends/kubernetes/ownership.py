"""Who controls an object, as its ownerReferences say; labels do not tell."""

from __future__ import annotations

from mahavishnu_operator.resources.protocol import WORKER_POOL, Key, Obj


def controller_of(obj: Obj) -> Obj | None:
    """The reference to an object's controller."""
    return next((o for o in obj["metadata"].get("ownerReferences") or () if o.get("controller")), None)


def pool_of(obj: Obj) -> Key | None:
    """The pool that controls an object itself."""
    owner = controller_of(obj)
    if owner is None or owner["kind"] != WORKER_POOL.kind:
        return None
    return Key(obj["metadata"]["namespace"], owner["name"])
