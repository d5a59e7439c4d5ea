"""The structural schema of a kind from its models: what goes into the CRD and what embedded validation walks.

The pressure: pydantic writes JSON Schema (references, null as a type, titles) and the API server accepts only
its structural subset, in which every node stands on its own. What must stay true: nothing here knows a field
by name; what a model says and this cannot express is an error when the schema is made, never dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

from .base import UNFILLED
from .reasons import API_VERSION
from .rules import RULES, Rule
from .scanjob import NEW_JOB_STATUS, ScanJobSpec, ScanJobStatus
from .workerpool import NEW_POOL_STATUS, WorkerPoolSpec, WorkerPoolStatus

Schema = dict[str, Any]

MODELS: Mapping[str, tuple[type[BaseModel], type[BaseModel], dict[str, Any], str]] = {
    "WorkerPool": (
        WorkerPoolSpec,
        WorkerPoolStatus,
        NEW_POOL_STATUS,
        "Named workers of one backend, between a least and a greatest number.",
    ),
    "ScanJob": (
        ScanJobSpec,
        ScanJobStatus,
        NEW_JOB_STATUS,
        "A request for work: a scan of files by tools, or a list of tasks.",
    ),
}

_DROPPED = ("title", "propertyNames")  # keys of maps are free in a structural schema
_KEPT = {
    *("type", "description", "default", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength"),
    *("minItems", "maxItems", "maxProperties", "required", "properties", "items", "additionalProperties"),
    *("x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-int-or-string"),
    *("x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations"),
}


class InexpressibleError(TypeError):
    """A model says something that a structural schema cannot."""


@cache
def kind_schema(kind: str) -> Schema:
    """The structural schema of whole objects of the kind, rules included. Callers must not change it."""
    spec, status, new_status, description = MODELS[kind]
    root: Schema = {
        "type": "object",
        "description": description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{API_VERSION}: the version of this schema."},
            "kind": {"type": "string", "description": f"{kind}: the kind of this object."},
            "metadata": {"type": "object"},  # the API server takes nothing more here: it knows it
            "spec": model_schema(spec),
            "status": {**model_schema(status, defaults=False), "default": new_status},
        },
    }
    for rule in RULES:
        if rule.kind == kind:
            _at(root, rule).setdefault("x-kubernetes-validations", []).append(rule.as_validation())
    return root


def model_schema(model: type[BaseModel], *, defaults: bool = True) -> Schema:
    """The structural schema of one model. InexpressibleError names the place that has none.

    Without `defaults` no field is filled in: for a status, where a value that no reconciler wrote would be
    taken for one that it did, and written over for ever.
    """
    raw = model.model_json_schema(by_alias=True, mode="validation")
    return _structural(raw, raw.get("$defs", {}), model.__name__, defaults)


def _structural(node: Mapping[str, Any], defs: Mapping[str, Any], place: str, defaults: bool) -> Schema:
    merged = _resolve(node, defs, place)
    if merged.pop(UNFILLED, False) or not defaults:
        merged.pop("default", None)
    if merged.get("additionalProperties") is False:
        del merged["additionalProperties"]
    if merged.get("additionalProperties") is True:
        if not merged.get("x-kubernetes-preserve-unknown-fields"):
            raise InexpressibleError(f"{place}: an object of anything")
        del merged["additionalProperties"]
    if unknown := sorted(set(merged) - _KEPT):
        raise InexpressibleError(f"{place}: {', '.join(unknown)} has no place in a structural schema")
    if "properties" in merged:
        merged["properties"] = {
            name: _structural(child, defs, f"{place}.{name}", defaults) for name, child in merged["properties"].items()
        }
    for name in ("items", "additionalProperties"):
        if name in merged:
            merged[name] = _structural(merged[name], defs, f"{place}[]", defaults)
    if "type" not in merged and "x-kubernetes-int-or-string" not in merged:
        raise InexpressibleError(f"{place}: has no type")
    return merged


def _resolve(node: Mapping[str, Any], defs: Mapping[str, Any], place: str) -> Schema:
    """The node without references and without null: absence says the same, and the API server prunes nulls."""
    merged = {name: value for name, value in node.items() if name not in (*_DROPPED, "$defs")}
    if "anyOf" in merged:
        choices = [choice for choice in merged.pop("anyOf") if choice != {"type": "null"}]
        if len(choices) != 1:
            raise InexpressibleError(f"{place}: {len(choices)} types at one place")
        if merged.get("default", "") is None:
            del merged["default"]
        return {**_resolve(choices[0], defs, place), **merged}
    if "$ref" in merged:
        target = defs[merged.pop("$ref").removeprefix("#/$defs/")]
        return {**_resolve(target, defs, place), **merged}
    return merged


def _at(root: Schema, rule: Rule) -> Schema:
    """The node that the rule is about; `[]` in its path steps into the items of a list."""
    node = root
    for step in rule.steps:
        try:
            node = node["items"] if step == "[]" else node["properties"][step]
        except KeyError:
            raise InexpressibleError(
                f"the rule at {rule.kind} {rule.at!r} is about a place that is not there"
            ) from None
    return node
