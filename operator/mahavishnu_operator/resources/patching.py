"""The two patch languages that need no schema: JSON merge patch (RFC 7386) and JSON patch (RFC 6902).

Both are pure: the target is never changed, a new value is answered. What must stay true: a patch applies
wholly or not at all; whatever cannot be applied is refused with the operation's number and its path.
"""

from __future__ import annotations

import json
from typing import Any

from mahavishnu_operator.support.errors import InvalidInput

_HOLDS_MORE = (dict, list)
MAX_OPERATIONS = 10_000  # as the API server has it
MAX_COPIED_BYTES = 3 * 1024 * 1024  # of JSON, by all `copy` together, as the API server has it: each may double


def merge_patch(target: Any, patch: Any) -> Any:
    """The target with the patch merged in: null removes a member, lists are replaced whole."""
    if not isinstance(patch, dict):
        return _copied(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def _copied(value: Any) -> Any:
    """A copy of a JSON value."""
    if isinstance(value, dict):
        return {name: _copied(child) if isinstance(child, _HOLDS_MORE) else child for name, child in value.items()}
    if isinstance(value, list):
        return [_copied(child) if isinstance(child, _HOLDS_MORE) else child for child in value]
    return value


def json_patch(target: Any, operations: Any) -> Any:
    """The target after all operations. InvalidInput: what cannot be applied, or a `test` that does not hold."""
    if not isinstance(operations, list):
        raise InvalidInput("a JSON patch is a list of operations", reason="BadRequest")
    if len(operations) > MAX_OPERATIONS:
        raise InvalidInput(f"{len(operations)} patch operations are too many", hint=f"at most {MAX_OPERATIONS}")
    document, copied = _copied(target), 0
    for number, operation in enumerate(operations):
        try:
            if operation["op"] == "copy":
                copied += len(json.dumps(_find(document, _pointer(operation["from"]))))
                if copied > MAX_COPIED_BYTES:
                    raise ValueError(f"all copies together have over {MAX_COPIED_BYTES} bytes")
            document = _perform(document, operation)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            words = json.dumps(operation)[:200]
            raise InvalidInput(
                f"JSON patch operation {number}, {words}, cannot be applied: {error}", reason="Invalid"
            ) from None
    return document


def _perform(document: Any, operation: Any) -> Any:
    verb, path = operation["op"], _pointer(operation["path"])
    match verb:
        case "add":
            return _add(document, path, _copied(operation["value"]))
        case "remove":
            return _remove(document, path)
        case "replace":
            _find(document, path)
            return _put(document, path, _copied(operation["value"]))
        case "test":
            if not same_json(_find(document, path), operation["value"]):
                raise ValueError("the value there is another one")
            return document
        case "move":
            source = _pointer(operation["from"])
            if path[: len(source)] == source and path != source:
                raise ValueError("a value cannot be moved into itself")
            value = _find(document, source)
            return _add(_remove(document, source), path, value)
        case "copy":
            return _add(document, path, _copied(_find(document, _pointer(operation["from"]))))
    raise ValueError(f"there is no operation {verb!r}")


def same_json(one: Any, other: Any) -> bool:
    """Equality of JSON values; unlike Python's, true is not 1."""
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_json(v, other[k]) for k, v in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    return bool(one == other)


def _pointer(text: Any) -> list[str]:
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise ValueError(f"{text!r} is no JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _position(items: list[Any], word: str, *, end: bool) -> int:
    if end and word == "-":
        return len(items)
    if not word.isdecimal() or (len(word) > 1 and word[0] == "0"):
        raise ValueError(f"{word!r} is no position in a list")
    position = int(word)
    if position >= len(items) + end:
        raise IndexError(f"the list ends before position {word}")
    return position


def _find(document: Any, path: list[str]) -> Any:
    for word in path:
        if isinstance(document, dict):
            if word not in document:
                raise KeyError(f"there is no {word}")
            document = document[word]
        elif isinstance(document, list):
            document = document[_position(document, word, end=False)]
        else:
            raise ValueError(f"{word} would lie inside a single value")
    return document


def _put(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _find(document, path[:-1])
    if isinstance(parent, list):
        parent[_position(parent, path[-1], end=False)] = value
    else:
        parent[path[-1]] = value
    return document


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _find(document, path[:-1])
    if isinstance(parent, list):
        parent.insert(_position(parent, path[-1], end=True), value)
    elif isinstance(parent, dict):
        parent[path[-1]] = value
    else:
        raise ValueError("its parent is a single value")
    return document


def _remove(document: Any, path: list[str]) -> Any:
    _find(document, path)
    if not path:
        return None
    parent = _find(document, path[:-1])
    if isinstance(parent, list):
        del parent[_position(parent, path[-1], end=False)]
    else:
        del parent[path[-1]]
    return document
