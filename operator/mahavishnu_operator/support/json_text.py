"""JSON from outside as values that everybody can write as JSON again, or words that say why not.

The pressure: Python's parser takes more than JSON is (NaN, 1e400 as infinity, half of a surrogate pair), keeps the
last of two members of one name without a word, and what it takes is stored and answered to clients that refuse all
of that. What must stay true: numbers are finite and short, strings hold characters, depth is bounded; Unreadable is
the only error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, NoReturn

MAX_DEPTH = 64  # our deepest field is 9 levels down; the node affinity of Kubernetes has 12
MAX_DIGITS = 40  # of a whole number: more than any bound of a field has, and far from what costs time


class Unreadable(ValueError):
    """The text cannot be taken for values; the message says why, and where if that is known."""


def read_json(text: str | bytes, *, strict: bool = True) -> Any:
    """One JSON value. Not `strict`: of several members of one name the last one counts. Unreadable."""
    try:
        return bounded(json.loads(text, **_hooks(strict)))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Unreadable(f"no JSON: {error}") from None
    except RecursionError:
        raise too_deep() from None


def read_json_values(text: str) -> Iterator[Any]:
    """One JSON value after the other. Unreadable."""
    decoder, at = json.JSONDecoder(**_hooks(strict=True)), _skip_space(text, 0)
    try:
        while at < len(text):
            value, at = decoder.raw_decode(text, at)
            yield bounded(value)
            at = _skip_space(text, at)
    except json.JSONDecodeError as error:
        raise Unreadable(f"no JSON: {error}") from None
    except RecursionError:
        raise too_deep() from None


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def bounded(value: Any) -> Any:
    """The value, with half surrogate pairs replaced as the API server does. Unreadable when it is too deep."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise too_deep()
        level = [child for each in level for child in (each.values() if isinstance(each, dict) else each)]
    return _with_characters(value)


def too_deep() -> Unreadable:
    """The refusal of what is nested too deep."""
    return Unreadable(f"nested deeper than {MAX_DEPTH} levels")


def finite(word: str) -> float:
    """The number. Unreadable when it is none, or beyond what JSON readers hold."""
    value = float(word)
    return value if math.isfinite(value) else refuse_number(word)


def whole(word: str, base: int = 10) -> int:
    """The whole number. Unreadable when it is too long."""
    return int(word, base) if len(word) <= MAX_DIGITS else refuse_number(word)


def refuse_number(word: str) -> NoReturn:
    """What to say of a number that JSON does not have."""
    raise Unreadable(f"{word[:MAX_DIGITS]} is no number of JSON that others can read")


def _hooks(strict: bool) -> dict[str, Any]:
    hooks: dict[str, Any] = {"parse_constant": refuse_number, "parse_float": finite, "parse_int": whole}
    return {**hooks, "object_pairs_hook": _once} if strict else hooks


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        raise Unreadable(f"{', '.join(sorted({name for name in names if names.count(name) > 1}))} is given twice")
    return members


def _with_characters(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_with_characters(item) for item in value]
    if isinstance(value, dict):
        return {_with_characters(name): _with_characters(child) for name, child in value.items()}
    return value
