"""What the schema of one place says about the value there, in words: what was given, and what is allowed.

Pure; looks at no place but its own. The words are for the author of a manifest, who may never have seen a
schema: they name the value, not the keyword that refused it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from .base import FILE_PATTERN, LABEL_PATTERN, NAME_PATTERN
from .structural import Schema, join, key_of

SHOWN = 60  # characters of a value in a message
_BEFORE_THE_HOST = re.compile(r'://[^\s"]*@')

_TYPES = {
    "string": "a text",
    "integer": "a whole number",
    "boolean": "true or false",
    "object": "a map of names to values",
    "array": "a list",
}
_PATTERN_WORDS = {
    NAME_PATTERN: "small letters, digits, '-' and '.', beginning and ending with a letter or digit",
    LABEL_PATTERN: "small letters, digits and '-', beginning and ending with a letter or digit",
    FILE_PATTERN: "a path without '..' in it",
}


def show(value: Any) -> str:
    """The value as JSON, shortened; of addresses without what is before the @, which may be a password."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return f"{type(value).__name__} {str(value)[:SHOWN]!r}"
    text = _BEFORE_THE_HOST.sub("://...@", text)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def problems(value: Any, schema: Schema, path: str) -> Iterator[tuple[str, str]]:
    """(path, message) for everything that the schema refuses about this value, without those within it."""
    if schema.get("x-kubernetes-int-or-string"):
        if not (isinstance(value, str) or is_whole(value)):
            yield path, f"is {show(value)}; a whole number or a text is needed"
            return
    elif not _IS_TYPE[schema["type"]](value):
        yield path, f"is {show(value)}; {_TYPES[schema['type']]} is needed{_type_hint(value, schema)}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield path, f"is {show(value)}; allowed is {' or '.join(map(str, schema['enum']))}"
    if isinstance(value, str):
        yield from ((path, problem) for problem in _of_text(value, schema))
    elif isinstance(value, dict):
        yield from _of_object(value, schema, path)
    elif isinstance(value, list):
        yield from _of_list(value, schema, path)
    elif not isinstance(value, bool):
        yield from ((path, problem) for problem in _of_number(value, schema))


def is_whole(value: Any) -> bool:
    """Whether the API server takes it for an integer: 3 and 3.0, not 3.5, not true, not "3".

    JSON numbers beyond 64 bits are floats there, and floats are whole up to 2**53 only.
    """
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return isinstance(value, float) and value.is_integer() and abs(value) < 2**53


_IS_TYPE: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": is_whole,
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
}


def _type_hint(value: Any, schema: Schema) -> str:
    if schema["type"] == "string" and not isinstance(value, dict | list) and value is not None:
        return ": put it into quotes"
    if schema["type"] in ("integer", "boolean") and isinstance(value, str):
        return ": without quotes"
    return ""


def _of_text(value: str, schema: Schema) -> Iterator[str]:
    if len(value) < schema.get("minLength", 0):
        yield "is empty" if not value else f"has {len(value)} characters; at least {schema['minLength']} are needed"
    elif len(value) > schema.get("maxLength", math.inf):
        yield f"has {len(value)} characters; at most {schema['maxLength']} are allowed"
    elif (pattern := schema.get("pattern")) and not _compiled(pattern).search(value):
        yield f"is {show(value)}; allowed is {_PATTERN_WORDS.get(pattern, f'what matches {pattern}')}"


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """The pattern as RE2 reads it: `$` is the end, not the place before a last line break."""
    return re.compile(re.sub(r"\$$", r"\\Z", pattern), re.ASCII)


def _of_number(value: float, schema: Schema) -> Iterator[str]:
    if value < schema.get("minimum", -math.inf):
        yield f"is {show(value)}; the least allowed is {schema['minimum']}"
    if value > schema.get("maximum", math.inf):
        yield f"is {show(value)}; the greatest allowed is {schema['maximum']}"


def _of_object(value: dict[str, Any], schema: Schema, path: str) -> Iterator[tuple[str, str]]:
    for name in schema.get("required", ()):
        if name not in value:
            words = schema["properties"][name].get("description", "")
            yield join(path, name), f"is missing; it is required{f' ({words.rstrip(chr(46))})' if words else ''}"
    if len(value) > schema.get("maxProperties", math.inf):
        yield path, f"has {len(value)} members; at most {schema['maxProperties']} are allowed"


def _of_list(value: list[Any], schema: Schema, path: str) -> Iterator[tuple[str, str]]:
    if len(value) < schema.get("minItems", 0):
        yield path, f"has {len(value)} items; at least {schema['minItems']} are needed"
    if len(value) > schema.get("maxItems", math.inf):
        yield path, f"has {len(value)} items; at most {schema['maxItems']} are allowed"
    keys = schema.get("x-kubernetes-list-map-keys", ())
    if not keys and schema.get("x-kubernetes-list-type") != "set":
        return
    seen: set[str] = set()
    for index, item in enumerate(value):
        key = key_of(item, keys)
        if key in seen:
            what = show(item)
            if isinstance(item, dict) and keys:
                what = ", ".join(f"{name} {show(item.get(name))}" for name in keys)
            yield f"{path}[{index}]", f"repeats {what}; each may be there once"
        seen.add(key)
