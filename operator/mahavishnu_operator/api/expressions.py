"""The rules in CEL, evaluated here as the API server evaluates them there.

The pressure: the two evaluators differ in small things that would make two verdicts: the API server compares
set-like and map-like lists without their order, and does not take 3.0 for a whole number where a rule reads it.
So values are handed over in a form in which both agree. What must stay true: an expression that cannot be
evaluated refuses, with the reason; the library is loaded with the first object, not with this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING, Any

from .rules import HOLD_WITHOUT_A_CHANGE_OF_SPEC
from .structural import MISSING, Node, Schema, join, key_of
from .values import show

if TYPE_CHECKING:
    import cel

RULES = "x-kubernetes-validations"
_NO_NUMBER: dict[str, Any] = {}  # compares with no number, as 3.0 does where the API server wants an integer


def broken_rules(node: Node) -> Iterator[tuple[str, str]]:
    """(path, message) of each rule at this node that does not hold. Rules about changes are asked on changes alone."""
    rules: list[Mapping[str, Any]] = [
        rule for rule in node.schema.get(RULES, ()) if node.old is not MISSING or not is_transition(rule["rule"])
    ]
    if isinstance(node.old, dict) and isinstance(node.value, dict) and _has_same_spec(node.value, node.old):
        rules = [rule for rule in rules if rule["rule"] not in HOLD_WITHOUT_A_CHANGE_OF_SPEC]
    if not rules:
        return
    texts = tuple(rule["rule"] for rule in rules)
    variables = {"self": comparable(_read_of(node.value, texts, "self"), node.schema)}
    if node.old is not MISSING:
        variables["oldSelf"] = comparable(_read_of(node.old, texts, "oldSelf"), node.schema)
    context = _library().Context(variables=variables)
    for rule in rules:
        if problem := _problem(rule["rule"], context):
            field = rule.get("fieldPath", "").removeprefix(".")
            path = join(node.path, field) if field else node.path
            yield path, f"{rule['message']}{_given(node.value, field)}{problem.removeprefix('false')}"


def is_transition(rule: str) -> bool:
    """Whether the rule is about a change."""
    return "oldSelf" in rule


def _has_same_spec(value: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether the spec is the very one that was there."""
    return "spec" in value and value["spec"] is old.get("spec")


def _read_of(value: Any, rules: tuple[str, ...], variable: str) -> Any:
    """The value without members that none of the rules reads: a status is long, and rules read a word of it."""
    read = _members(rules, variable) if isinstance(value, dict) else None
    return value if read is None else {name: child for name, child in value.items() if name in read}


@cache
def _members(rules: tuple[str, ...], variable: str) -> frozenset[str] | None:
    """The members of that variable that the rules read; None: maybe all."""
    found = [member for rule in rules for member in re.findall(rf"\b{variable}\b(\.[A-Za-z_]\w*\b(?!\())?", rule)]
    return None if "" in found else frozenset(member[1:] for member in found)


def comparable(value: Any, schema: Schema) -> Any:
    """The value with lists that have no order in one order, and fractions where there should be none made useless."""
    if isinstance(value, float) and schema.get("type") == "integer":
        return _NO_NUMBER
    if isinstance(value, dict):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        return {name: comparable(child, properties.get(name, others) or {}) for name, child in value.items()}
    if isinstance(value, list):
        items = schema.get("items", {})
        keys = schema.get("x-kubernetes-list-map-keys", ())
        if "x-kubernetes-list-type" in schema:
            value = sorted(value, key=lambda item: key_of(item, keys))
        return [comparable(item, items) for item in value]
    return value


def _problem(rule: str, context: cel.Context) -> str:
    """Empty when the rule holds; "false", or "false" and why it has no answer."""
    try:
        holds = _program(rule).execute(context)
    except TypeError:
        return "false (a value in it is of another type; a whole number is written 3, not 3.0)"
    except (ValueError, KeyError, IndexError, RuntimeError) as error:
        return f"false (the rule cannot be evaluated on this value: {error})"
    return "" if holds is True else "false"


@cache
def _program(rule: str) -> cel.Program:
    program: cel.Program = _library().compile(rule)
    return program


@cache
def _library() -> Any:
    """The package's evaluator without its command line, which would cost each scan a tenth of a second more."""
    package = find_spec("cel")
    spec = PathFinder.find_spec("cel", package.submodule_search_locations) if package is not None else None
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError("the CEL evaluator is not installed: install mahavishnu-operator with its packages")
    library = module_from_spec(spec)
    spec.loader.exec_module(library)
    return library


def _given(value: Any, field: str) -> str:
    """What was given, where that is short enough to help."""
    for name in field.split(".") if field else ():
        if not isinstance(value, dict) or name not in value:
            return ""
        value = value[name]
    return "" if isinstance(value, dict | list) else f"; it is {show(value)}"
