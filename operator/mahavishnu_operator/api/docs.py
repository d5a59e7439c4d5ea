"""The reference pages, made from the models and enums: `python -m mahavishnu_operator.api.docs --write|--check DIR`.

What must stay true: nothing is said here that is not in the models, the rules, the enums or their comments; so a
page that is wrong is a model that is wrong.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
import tokenize
from collections.abc import Iterator, Mapping
from enum import StrEnum
from io import StringIO
from typing import Any

from . import reasons
from .generated import main
from .implemented import NOT_YET, Asks
from .reasons import API_VERSION, ConditionType, EventReason, FailureClass, JobPhase, Label, Reason, Verdict
from .rules import RULES
from .schema import MODELS, kind_schema

_HEADER = "<!-- Generated from the models (make crds): do not edit. -->\n"
_PAGES = (ConditionType, Reason, JobPhase, Verdict, FailureClass, EventReason, Label)
_BOUNDS = (("minimum", "maximum", ""), ("minLength", "maxLength", " characters"), ("minItems", "maxItems", " items"))


def files() -> Iterator[tuple[str, str]]:
    """File name and Markdown text of each page."""
    yield "kinds.md", _kinds_page()
    yield "reasons.md", _reasons_page()


def _kinds_page() -> str:
    parts = [
        f"{_HEADER}# The two kinds\n\nGroup and version `{API_VERSION}`. A field marked *not yet* is in the schema, "
        "and is refused with condition `Accepted=False`, reason `NotImplemented`, until a version acts on it.\n"
        "`[]` stands for the items of a list. A required field is **bold**.\n"
    ]
    for kind in MODELS:
        schema = kind_schema(kind)
        parts.append(f"\n## {kind}\n\n{schema['description']}\n")
        for part in ("spec", "status"):
            rows = "\n".join(_rows(schema["properties"][part], part, kind))
            parts.append(f"\n### {kind}.{part}\n\n| field | type | default | meaning |\n|---|---|---|---|\n{rows}\n")
        rules = "\n".join(
            f"| `{'.'.join(filter(None, (rule.at, rule.field))) or 'the object'}` "
            f"| {_cell(rule.message)}{' (asked on changes)' * rule.is_transition} |"
            for rule in RULES
            if rule.kind == kind
        )
        parts.append(f"\n### Rules of {kind}\n\n| about | what must hold |\n|---|---|\n{rules}\n")
    return "".join(parts)


def _rows(schema: Mapping[str, Any], path: str, kind: str) -> Iterator[str]:
    for name, child in schema.get("properties", {}).items():
        place = f"{path}.{name}"
        shown = f"**`{place}`**" if name in schema.get("required", ()) else f"`{place}`"
        default = f"`{json.dumps(child['default'])}`" if child.get("default") not in (None, {}) else ""
        meaning = _cell(child.get("description", ""))
        if asks := NOT_YET[kind].get(place.removeprefix("spec.")):
            meaning += _not_yet(child, asks)
        yield f"| {shown} | {_type(child)} | {default} | {meaning} |"
        inner = child
        while inner.get("type") == "array":
            inner, place = inner["items"], f"{place}[]"
        yield from _rows(inner, place, kind)


def _not_yet(schema: Mapping[str, Any], asks: Asks) -> str:
    values = schema.get("enum", [False, True] if schema["type"] == "boolean" else [])
    refused = [f"`{value if isinstance(value, str) else json.dumps(value)}`" for value in values if asks(value)]
    return f" *Not yet: {', '.join(refused)}.*" if refused else " *Not yet.*"


def _type(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " \\| ".join(f"`{value}`" for value in schema["enum"])
    if "x-kubernetes-int-or-string" in schema:
        return "quantity"
    words = [{"array": "list of ", "object": "object"}.get(schema["type"], schema["type"])]
    if schema["type"] == "array":
        words[0] += _type(schema["items"])
    elif "additionalProperties" in schema:
        words[0] = f"map to {_type(schema['additionalProperties'])}"
    for least, most, unit in _BOUNDS:
        if least in schema or most in schema:
            words.append(
                f"{schema.get(least, 0)} to {schema[most]}{unit}" if most in schema else f"from {schema[least]}"
            )
    if "maxProperties" in schema:
        words.append(f"0 to {schema['maxProperties']} members")
    if schema.get("x-kubernetes-list-type") == "set":
        words.append("each once")
    return ", ".join(words)


def _reasons_page() -> str:
    parts = [
        f"{_HEADER}# Conditions, reasons and other words to match on\n\nThese words are stable within a version.\n"
    ]
    comments = _comments()
    for enum in _PAGES:
        parts.append(f"\n## {_spaced(enum.__name__)}\n\n{_paragraph(enum)}\n\n| word | meaning |\n|---|---|\n")
        parts += [f"| `{member.value}` | {_cell(comments[enum.__name__, member.name])} |\n" for member in enum]
    return "".join(parts)


def _comments() -> dict[tuple[str, str], str]:
    """The comment behind each member of the enums of `reasons`, by class and member. KeyError later: there is none."""
    source = inspect.getsource(reasons)
    by_line = {
        token.start[0]: token.string.removeprefix("#").strip()
        for token in tokenize.generate_tokens(StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    return {
        (node.name, target.id): by_line[statement.lineno]
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        if isinstance(statement, ast.Assign) and statement.lineno in by_line
        for target in statement.targets
        if isinstance(target, ast.Name)
    }


def _paragraph(enum: type[StrEnum]) -> str:
    return inspect.cleandoc(enum.__doc__ or "")


def _spaced(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    sys.exit(main("mahavishnu_operator.api.docs", files()))
