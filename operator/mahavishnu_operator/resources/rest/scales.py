"""autoscaling/v1 Scale of an object: what `kubectl scale` and a horizontal autoscaler read and write. Pure."""

from __future__ import annotations

from typing import Any

from mahavishnu_operator.resources import schemas
from mahavishnu_operator.resources.protocol import Kind, Obj
from mahavishnu_operator.support.errors import InvalidInput


def scalable(kind: Kind) -> bool:
    """Whether the kind has /scale."""
    return schemas.has_scale(kind)


def scale_of(obj: Obj) -> Obj:
    """The Scale of an object."""
    meta = {
        name: obj["metadata"][name] for name in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    }
    status = obj.get("status") or {}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": meta,
        "spec": {"replicas": obj["spec"].get("replicas", 0)},
        "status": {"replicas": status.get("replicas", 0), "selector": status.get("selector", "")},
    }


def scaled(obj: Obj, scale: Any) -> Obj:
    """The object with the replicas of that Scale, guarded by the Scale's resourceVersion and uid."""
    if not isinstance(scale, dict) or scale.get("kind") != "Scale" or not isinstance(scale.get("spec"), dict):
        raise InvalidInput("the body is no autoscaling/v1 Scale", reason="BadRequest")
    replicas = scale["spec"].get("replicas", 0)  # as in Go, an absent number is 0
    if type(replicas) is not int or replicas < 0:
        raise InvalidInput(f"spec.replicas: {replicas!r} is no number of workers", hint="use 0 or more")
    guard = {
        name: value
        for name, value in (scale.get("metadata") or {}).items()
        if name in ("name", "namespace", "resourceVersion", "uid")
    }
    return {**obj, "metadata": {**obj["metadata"], **guard}, "spec": {**obj["spec"], "replicas": replicas}}
