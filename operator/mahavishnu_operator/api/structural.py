"""A structural schema applied to an object: pruned, nulls taken out, defaults filled in, and every node visited.

The pressure: embedded mode must give the API server's verdict on every manifest, and that server's rules are
particular (a null is an absence, 3.0 is a whole number, an unchanged part of an object is never refused on an
update, so that a schema that became stricter does not lock stored objects). They are here, and only here;
values.py has what one node's own schema says. What must stay true: nothing given is changed in place; the same
order as the API server's: prune, take out nulls, fill in, then check.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

Schema = Mapping[str, Any]


class _Missing:
    """There is no value: not the same as null."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()
OPEN = "x-kubernetes-preserve-unknown-fields"
_HOLDS_MORE = (dict, list)


class Node(NamedTuple):
    """A value and the schema of its place; `old` is what was there before, if that can be told.

    `unchanged`: the old value is equal, so nothing in it is refused again.
    """

    path: str
    value: Any
    schema: Schema
    old: Any = MISSING

    @property
    def unchanged(self) -> bool:
        """Whether it is what it was."""
        return self.old is not MISSING and equal(self.value, self.old)


def join(path: str, member: str) -> str:
    """The path of a member of the object at `path`."""
    return f"{path}.{member}" if path else member


def prepare(value: Any, schema: Schema, path: str = "") -> tuple[Any, list[str]]:
    """The value as the API server would store it, and the paths of the unknown fields that it has left out."""
    unknown: list[str] = []
    return _stored(value, schema, path, unknown), unknown


def _stored(value: Any, schema: Schema, path: str, unknown: list[str]) -> Any:
    """In one walk, because every write pays for it: each place is pruned, rid of nulls and filled in, in that order."""
    if isinstance(value, list):
        items = schema.get("items")
        if items is None:
            return value
        return [
            _stored(item, items, f"{path}[{index}]", unknown) if isinstance(item, _HOLDS_MORE) else item
            for index, item in enumerate(value)
        ]
    if not isinstance(value, dict) or schema.get(OPEN):
        return value
    kept: dict[str, Any] = {}
    properties, others = schema.get("properties", {}), schema.get("additionalProperties")
    for name, child in value.items():
        place = properties.get(name, others)
        if place is None:
            unknown.append(join(path, str(name)))
        elif isinstance(child, _HOLDS_MORE):
            below = join(path, name) if name in properties else f"{path}[{name}]"
            kept[name] = _stored(child, place, below, unknown)
        elif child is not None:
            kept[name] = child
    for name, place in properties.items():
        if "default" in place and name not in kept:
            kept[name] = _stored(place["default"], place, "", [])
    return kept


def nodes(node: Node) -> list[Node]:
    """The node and all below it that are not what they were; nothing below one that is not of its type."""
    found: list[Node] = []
    _visit(node, found)
    return found


def _visit(node: Node, found: list[Node]) -> None:
    if node.unchanged:
        return
    found.append(node)
    value, schema, old = node.value, node.schema, node.old
    if isinstance(value, dict) and schema.get("type") == "object":
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        before = old if isinstance(old, dict) else {}
        for name, child in value.items():
            if name in properties:
                _visit(Node(join(node.path, name), child, properties[name], before.get(name, MISSING)), found)
            elif others is not None:
                _visit(Node(f"{node.path}[{name}]", child, others, before.get(name, MISSING)), found)
    elif isinstance(value, list) and schema.get("type") == "array":
        keys = schema.get("x-kubernetes-list-map-keys", ())
        before = {key_of(item, keys): item for item in old} if keys and isinstance(old, list) else {}
        for index, child in enumerate(value):
            was = before.get(key_of(child, keys), MISSING) if keys else MISSING
            _visit(Node(f"{node.path}[{index}]", child, schema["items"], was), found)


def key_of(item: Any, keys: tuple[str, ...] | list[str]) -> str:
    """What tells an item of a map-like list apart, as text."""
    return repr([item.get(key) for key in keys]) if isinstance(item, dict) else repr(item)


def equal(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same; unlike `==`, true is not 1."""
    if one is other:
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(equal(a, b) for a, b in zip(one, other, strict=True))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
