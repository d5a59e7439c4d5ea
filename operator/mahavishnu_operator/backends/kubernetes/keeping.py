"""What is kept in memory of the objects that workers are made of: what somebody here reads.

The pressure: a Pod as the API server tells it is 37 KB of dictionaries, eighty of them, and each collection walks them
all: ten thousand Pods are a third of a gigabyte. What is kept of one is a seventh of it. A node's list of images is
longer still. What must stay true: whoever reads more of a kept object names it here.
"""

from __future__ import annotations

from collections.abc import Iterable

from mahavishnu_operator.resources.protocol import Obj

METADATA = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "labels",
    "annotations",
    "ownerReferences",
)
STATUS = ("phase", "reason", "message", "startTime", "conditions")
CONTAINERS = ("initContainerStatuses", "containerStatuses")


def keep_worker(obj: Obj) -> Obj:
    """A Pod or a Job: who it is, where it runs, and how it goes."""
    status = obj.get("status") or {}
    containers = {
        field: [_chosen(container, ("name", "state")) for container in status[field]]
        for field in CONTAINERS
        if status.get(field)
    }
    return {
        "metadata": _chosen(obj["metadata"], METADATA),
        "spec": _chosen(obj.get("spec") or {}, ("nodeName",)),
        "status": _chosen(status, STATUS) | containers,
    }


def keep_node(obj: Obj) -> Obj:
    """A node: who it is, and whether it takes new work."""
    return {
        "metadata": _chosen(obj["metadata"], ("name", "uid", "resourceVersion")),
        "spec": _chosen(obj.get("spec") or {}, ("unschedulable",)),
    }


def _chosen(part: Obj, fields: Iterable[str]) -> Obj:
    return {field: part[field] for field in fields if field in part}
