"""YAML from outside as the values that JSON has, or words that say why not.

The pressure: YAML knows dates, sets, references and numbers that JSON does not, and a megabyte of it can unfold
to any size, nest deeper than its parser's stack, or say one key twice. What must stay true: depth and unfolded size
are known before anything is built; no key is lost to a second one of its name; Unreadable is the only error.

Read as Kubernetes reads it: YAML 1.1 (`on` is true, 010 is 8) without dates and without numbers to base 60; but a
key that is no text is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from .json_text import MAX_DEPTH, MAX_DIGITS, Unreadable, bounded, finite, read_json_values, too_deep, whole

MAX_VALUES = 100_000  # once aliases are unfolded; an object of 256 KiB cannot have more
_PREFIX = "tag:yaml.org,2002:"
_MERGE = f"{_PREFIX}merge"
_NUMBERS = {  # as sigs.k8s.io/yaml resolves them; the first that matches counts
    "int": r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0o?[0-7_]+|0|[1-9][0-9_]*)\Z",
    "float": r"(?:[-+]?(?:\.[0-9_]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z",
}
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Composes nodes; nothing is constructed with it."""


_DROPPED = {f"{_PREFIX}{kind}" for kind in ("timestamp", "value", *_NUMBERS)}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _DROPPED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind, _pattern in _NUMBERS.items():
    _Loader.add_implicit_resolver(f"{_PREFIX}{_kind}", re.compile(_pattern), list("-+.0123456789"))


def read_documents(text: str) -> list[Any]:
    """The values of a file: JSON objects one after the other, or YAML documents (an empty one is None). Unreadable."""
    if text.lstrip().startswith("{"):
        try:
            return list(read_json_values(text))
        except Unreadable as error:
            if not str(error).startswith("no JSON"):
                raise  # else a flow mapping of YAML, which begins alike
    return read_yaml(text)


def read_yaml(text: str, *, aliases: bool = True) -> list[Any]:
    """The value of each YAML document. Unreadable; without `aliases` also for `*name`."""
    try:
        _look_through(text, aliases=aliases)
        documents = list(yaml.compose_all(text, Loader=_Loader))
    except yaml.YAMLError as error:
        raise Unreadable(f"no YAML: {' '.join(str(error).split())}") from None
    return [None if root is None else _Builder(root).value() for root in documents]


def _look_through(text: str, *, aliases: bool) -> None:
    """Depth and number of nodes before they are composed, which the parser does by recursion in C."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=_Loader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        why = ""
        if isinstance(event, yaml.AliasEvent) and not aliases:
            why = "YAML aliases are not taken here; write the values out"
        if depth > MAX_DEPTH:
            why = str(too_deep())
        if number > 2 * MAX_VALUES:
            why = f"more than {MAX_VALUES} values"
        if why:
            raise Unreadable(f"{_line(event)}: {why}")


class _Builder:
    """The value of one document. Aliases make its nodes a graph, so what that unfolds to is counted first."""

    def __init__(self, root: yaml.Node) -> None:
        self._root = root
        self._measured: dict[int, tuple[int, int]] = {}

    def value(self) -> Any:
        """The value. Unreadable."""
        if self._measure(self._root, ())[0] > MAX_VALUES:
            raise Unreadable(f"more than {MAX_VALUES} values once its aliases are unfolded")
        return bounded(self._build(self._root))

    def _measure(self, node: yaml.Node, above: tuple[int, ...]) -> tuple[int, int]:
        """How many values it unfolds to, and how deep they are. Unreadable when a node is in itself."""
        if id(node) in above:
            raise Unreadable(f"{_line(node)}: it holds an alias to itself")
        if id(node) not in self._measured:
            inside = [self._measure(child, (*above, id(node))) for child in _children(node)]
            size, depth = sum((size for size, _ in inside), 1), max((depth for _, depth in inside), default=0) + 1
            if depth > MAX_DEPTH + 1:  # a scalar counts here
                raise too_deep()
            self._measured[id(node)] = size, depth
        return self._measured[id(node)]

    def _build(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_PREFIX}map":
            return self._members(node)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_PREFIX}seq":
            return [self._build(item) for item in node.value]
        return _scalar(node)

    def _members(self, node: yaml.MappingNode) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, child in node.value:
            if key.tag == _MERGE:
                sources = child.value if isinstance(child, yaml.SequenceNode) else [child]
                for source in sources:  # the first one that has a key counts
                    merged = {**self._merged(source), **merged}
                continue
            name = _scalar(key) if isinstance(key, yaml.ScalarNode) else None
            if not isinstance(name, str):
                raise Unreadable(f"{_line(key)}: a key must be a text; put it into quotes")
            if name in own:
                raise Unreadable(f"{_line(key)}: {name} is given twice")
            own[name] = self._build(child)
        return {**merged, **own}

    def _merged(self, source: yaml.Node) -> dict[str, Any]:
        if not isinstance(source, yaml.MappingNode):
            raise Unreadable(f"{_line(source)}: only a mapping can be merged with <<")
        return self._members(source)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair


def _line(what: yaml.Node | yaml.Event) -> str:
    return f"line {what.start_mark.line + 1}" if what.start_mark is not None else "somewhere"


def _scalar(node: yaml.Node) -> Any:
    text, kind = str(node.value), node.tag.removeprefix(_PREFIX)
    try:
        match kind if isinstance(node, yaml.ScalarNode) else "":
            case "str":
                return text
            case "null":
                return None
            case "bool":
                return _WORDS[text.lower()]
            case "int":
                return _int(text.replace("_", ""))
            case "float":
                return finite(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
    except Unreadable as error:
        raise Unreadable(f"{_line(node)}: {error}") from None
    except (KeyError, ValueError):
        raise Unreadable(f"{_line(node)}: {text[:MAX_DIGITS]!r} is no {kind}") from None
    raise Unreadable(f"{_line(node)}: a value of type {kind} has no place in JSON")


def _int(digits: str) -> int:
    bare = digits.lstrip("+-")
    octal = len(bare) > 1 and bare[0] == "0" and bare[1].isdigit()
    return whole(digits, 8 if octal else 0)
