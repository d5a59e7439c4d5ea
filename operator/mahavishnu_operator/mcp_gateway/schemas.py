"""The shapes of answers as JSON schemas, made from models; pure.

The pressure: a client that knows what comes back needs no second look, and the official ones refuse an answer that is
not what was promised. What must stay true: a schema holds for each answer that is no error of the protocol, so every
one of them allows a failure beside the success; what clients do not know may be added.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from .answers import Failure

Schema = dict[str, Any]


def answer_of(model: type[BaseModel]) -> Schema:
    """All that a success has, or a failure."""
    own, failed = _parts(model), _parts(Failure)
    return {
        "type": "object",
        "properties": {**failed["properties"], **own["properties"]},
        "anyOf": [{"required": own["required"]}, _failure()],
        **_definitions(own),
    }


def list_of(row: type[BaseModel]) -> Schema:
    """Rows, under `result` as the protocol has lists; a failure is an error of the protocol."""
    own = _parts(row)
    return {
        "type": "object",
        "properties": {"result": {"type": "array", "items": _plain(own)}},
        "required": ["result"],
        "x-fastmcp-wrap-result": True,
        **_definitions(own),
    }


def mapping_of(row: type[BaseModel] | None, *, or_one: bool = False) -> Schema:
    """An id each with its row (None: with a word); `or_one`: or one row by itself. Or a failure."""
    if row is None:
        return {"type": "object", "anyOf": [{"additionalProperties": {"type": "string"}}, _failure()]}
    own = _parts(row)
    by_id = {"additionalProperties": {"anyOf": [_plain(own), _failure()]}}
    one = [{name: value for name, value in _plain(own).items() if name != "type"}] if or_one else []
    return {"type": "object", "anyOf": [*one, by_id, _failure()], **_definitions(own)}


def rows_or_mapping(row: type[BaseModel], named: type[BaseModel]) -> Schema:
    """Rows under `result`, or a name each with what is known of it, by what was asked for. Or a failure."""
    rows, known = _parts(row), _parts(named)
    listed = {"properties": {"result": {"type": "array", "items": _plain(rows)}}, "required": ["result"]}
    by_name = {"additionalProperties": _plain(known)}
    return {"type": "object", "anyOf": [listed, by_name, _failure()], **_definitions(rows), **_definitions(known)}


def _parts(model: type[BaseModel]) -> Schema:
    parts: Schema = _without_titles(model.model_json_schema(mode="validation"))
    return {"required": [], **parts}


def _plain(parts: Schema) -> Schema:
    return {"type": "object", "properties": parts["properties"], "required": parts["required"]}


def _failure() -> Schema:
    return {"required": _parts(Failure)["required"], "properties": {"success": {"const": False}}}


def _definitions(parts: Schema) -> Schema:
    return {"$defs": parts["$defs"]} if "$defs" in parts else {}


def _without_titles(value: Any) -> Any:
    """Names of Python's classes tell a model nothing, and each costs it words."""
    if isinstance(value, dict):
        kept = {name: each for name, each in value.items() if not (name == "title" and isinstance(each, str))}
        return {name: _without_titles(each) for name, each in kept.items() if name != "description" or "type" in kept}
    return [_without_titles(each) for each in value] if isinstance(value, list) else value
