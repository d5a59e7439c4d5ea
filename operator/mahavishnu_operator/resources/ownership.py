"""Who owns which field: server-side apply for the embedded API, in metadata.managedFields' own form.

The pressure: a GitOps tool, a person with kubectl and the autoscaler write the same object. Each must be
able to send only what it means, have what it no longer sends removed, and be told when it would overwrite
another. So an object is seen as leaves (path -> value), and each manager owns a set of leaf paths.

What must stay true: a list is one leaf unless the schema says that its items have keys (then each item's
leaves are owned on their own) or that it is a set; status is nobody's, its subresource guards it; the
paths are those of Kubernetes' FieldsV1 (`f:name`, `k:{"id":"a"}`, `v:"x"`, `.` for the item itself), so
that kubectl reads and rewrites them. Pure functions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mahavishnu_operator.support.errors import Conflict

from .patching import same_json

Path = tuple[str, ...]
Leaves = dict[Path, Any]
Operation = Literal["Apply", "Update"]

_MISSING = object()
_ITEM = "."


@dataclass(frozen=True)
class ListTypes:
    """Lists that are more than one leaf, by the path of plain names, `*` for the items of a list.

    `keyed`: path -> the members that identify an item; `sets`: lists of distinct single values.
    """

    keyed: Mapping[Path, tuple[str, ...]] = field(default_factory=dict)
    sets: frozenset[Path] = frozenset()

    @classmethod
    def of_schema(cls, schema: Mapping[str, Any]) -> ListTypes:
        """As an OpenAPI schema with x-kubernetes-list-type declares them, and those of metadata."""
        keyed: dict[Path, tuple[str, ...]] = {("metadata", "ownerReferences"): ("uid",)}
        sets: set[Path] = {("metadata", "finalizers")}

        def walk(node: Mapping[str, Any], path: Path) -> None:
            match node.get("x-kubernetes-list-type"):
                case "map":
                    keyed[path] = tuple(node["x-kubernetes-list-map-keys"])
                case "set":
                    sets.add(path)
            for name, child in (node.get("properties") or {}).items():
                walk(child, (*path, name))
            if isinstance(node.get("items"), Mapping):
                walk(node["items"], (*path, "*"))

        walk(schema, ())
        return cls(keyed, frozenset(sets))


@dataclass(frozen=True)
class Manager:
    """One entry of metadata.managedFields."""

    name: str
    operation: Operation
    time: str
    paths: frozenset[Path]

    def is_of(self, name: str, operation: Operation) -> bool:
        """Whether it is this manager's entry."""
        return (self.name, self.operation) == (name, operation)


class ApplyConflict(Conflict):
    """Applied values differ from those that other managers own. `conflicts`: (manager's name, path in words)."""

    def __init__(self, conflicts: Sequence[tuple[str, str]]) -> None:
        words = "; ".join(f'conflict with "{manager}" on {path}' for manager, path in conflicts)
        super().__init__(
            f"apply would change fields of other managers: {words}",
            hint="leave those fields out, use the same values, or force the apply to take them over",
        )
        self.conflicts = tuple(conflicts)


def leaves_of(obj: Mapping[str, Any], types: ListTypes) -> Leaves:
    """The leaves that can be owned: everything but status, and of metadata what users write."""
    owned = {name: value for name, value in obj.items() if name not in ("apiVersion", "kind", "status", "metadata")}
    meta = obj.get("metadata") or {}
    for name in ("labels", "annotations", "ownerReferences", "finalizers"):
        if meta.get(name):
            owned.setdefault("metadata", {})[name] = meta[name]
    leaves: Leaves = {}
    _flatten(owned, types, (), (), leaves)
    return leaves


def _flatten(value: Any, types: ListTypes, place: Path, path: Path, leaves: Leaves) -> None:
    if isinstance(value, dict) and value:
        for name, child in value.items():
            _flatten(child, types, (*place, name), (*path, f"f:{name}"), leaves)
        return
    if isinstance(value, list) and value:
        if (keys := types.keyed.get(place)) and (labels := _item_labels(value, keys)):
            for label, item in zip(labels, value, strict=True):
                leaves[(*path, label, _ITEM)] = None
                _flatten(item, types, (*place, "*"), (*path, label), leaves)
            return
        if place in types.sets and len(members := {f"v:{_compact(v)}": v for v in value}) == len(value):
            leaves.update({(*path, label): v for label, v in members.items()})
            return
    leaves[path] = value


def _item_labels(items: list[Any], keys: tuple[str, ...]) -> list[str] | None:
    """`k:{...}` of each item, or None when they cannot be told apart (validation refuses such a list)."""
    if not all(isinstance(item, dict) and all(key in item for key in keys) for item in items):
        return None
    labels = [f"k:{_compact({key: item[key] for key in keys})}" for item in items]
    return labels if len(set(labels)) == len(labels) else None


def _compact(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def object_of(leaves: Leaves) -> dict[str, Any]:
    """The object that has these leaves: the other way round from `leaves_of`."""
    tree: dict[str, Any] = {}
    for path, value in leaves.items():
        node = tree
        for label in path[:-1]:
            node = node.setdefault(label, {})
        if path[-1] != _ITEM:
            node[path[-1]] = _Leaf(value)
        elif len(path) > 1:
            node.setdefault(_ITEM, _Leaf(None))
    built = _value(tree)
    return built if isinstance(built, dict) else {}


@dataclass(frozen=True)
class _Leaf:
    value: Any


def _value(node: Any) -> Any:
    if isinstance(node, _Leaf):
        return node.value
    children = {label: child for label, child in node.items() if label != _ITEM}
    if children and all(label.startswith(("k:", "v:")) for label in children):
        return [_value(child) for child in children.values()]
    return {label[2:]: _value(child) for label, child in children.items()}


def apply_leaves(
    live: Leaves, applied: Leaves, managers: Sequence[Manager], *, manager: str, force: bool, now: str
) -> tuple[Leaves, tuple[Manager, ...]]:
    """The leaves after `manager` applied, and who owns what then. Raises ApplyConflict unless forced.

    What the manager applied before, applies no longer and shares with nobody is removed.
    """
    others = [m for m in managers if not m.is_of(manager, "Apply")]
    before = next((m for m in managers if m.is_of(manager, "Apply")), None)
    taken = {p for p, value in applied.items() if not same_json(live.get(p, _MISSING), value)}
    conflicts = [(m.name, path_in_words(p)) for m in others for p in sorted(m.paths & taken) if p[-1] != _ITEM]
    if conflicts and not force:
        raise ApplyConflict(conflicts)
    others = [replace(m, paths=m.paths - taken) for m in others]
    shared = frozenset().union(*(m.paths for m in others))
    gone = (before.paths if before else frozenset()) - applied.keys() - shared
    merged = _overlay(_without(live, gone), applied)
    paths = frozenset(applied)
    same = before is not None and before.paths == paths
    mine = Manager(manager, "Apply", before.time if before and same else now, paths)
    return merged, prune((*others, mine), merged)


def update_managers(
    before: Leaves, after: Leaves, managers: Sequence[Manager], *, manager: str, now: str
) -> tuple[Manager, ...]:
    """Who owns what after `manager` changed `before` to `after` by other means than apply: it takes what it changed."""
    changed = frozenset(p for p, v in after.items() if not same_json(before.get(p, _MISSING), v))
    if not changed:
        return prune(managers, after)
    mine = next((m for m in managers if m.is_of(manager, "Update")), Manager(manager, "Update", now, frozenset()))
    others = [replace(m, paths=m.paths - changed) for m in managers if not m.is_of(manager, "Update")]
    return prune((*others, replace(mine, time=now, paths=mine.paths | changed)), after)


def prune(managers: Iterable[Manager], leaves: Leaves) -> tuple[Manager, ...]:
    """The managers without paths that are no more, and without those who own nothing."""
    kept = (replace(m, paths=m.paths & leaves.keys()) for m in managers)
    return tuple(m for m in kept if m.paths)


def _without(leaves: Leaves, gone: frozenset[Path]) -> Leaves:
    items = {path[:-1] for path in gone if path[-1] == _ITEM}
    return {
        path: value
        for path, value in leaves.items()
        if path not in gone and not any(path[:end] in items for end in range(1, len(path)))
    }


def _overlay(live: Leaves, applied: Leaves) -> Leaves:
    shapes = {path[:end]: _shape(path[end]) for path in applied for end in range(len(path))}
    merged = {
        path: value
        for path, value in live.items()
        if all(shapes.get(path[:end], _shape(path[end])) == _shape(path[end]) for end in range(len(path)))
    }
    branches = {path[:end] for path in merged for end in range(1, len(path))}
    for path, value in applied.items():
        if path in branches:
            if value == {} or value == []:  # an empty map or keyed list adds nothing to what is there
                continue
            merged = {p: v for p, v in merged.items() if p[: len(path)] != path}
        for end in range(1, len(path)):
            merged.pop(path[:end], None)  # a single value where a branch is wanted
        merged[path] = value
    return merged


def _shape(label: str) -> str:
    """What the parent of this label is: a map (f, also of an item's own mark), a keyed list (k) or a set (v)."""
    return "f" if label == _ITEM else label[0]


def path_in_words(path: Path) -> str:
    """`.spec.tasks[id="a"].command`, as kubectl shows it."""
    words = ""
    for label in path:
        if label.startswith("f:"):
            words += f".{label[2:]}"
        elif label.startswith("k:"):
            keys = json.loads(label[2:])
            words += "[" + ",".join(f"{k}={_compact(v)}" for k, v in keys.items()) + "]"
        elif label.startswith("v:"):
            words += f"[={label[2:]}]"
    return words
