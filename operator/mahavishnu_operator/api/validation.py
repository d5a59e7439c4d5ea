"""`admit`: the verdict of the API server on an object of our kinds, where there is no API server.

The pressure: a manifest means the same everywhere, or it is not worth keeping in Git. The same schema is walked
that the CRDs carry, with the same rules in the same CEL. What must stay true: equal verdicts, strict as with
fieldValidation=Strict (tests/manifest_cases.py runs against both); every violation is named at once, with its
path, what was given and what is allowed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mahavishnu_operator.support.errors import InvalidInput

from .expressions import RULES, broken_rules
from .reasons import API_VERSION
from .schema import MODELS, kind_schema
from .structural import MISSING, Node, Schema, nodes, prepare
from .values import is_whole, problems, show

SHOWN_VIOLATIONS = 20
_NUMBERS_IN = (dict, list, float)
_METADATA = (
    *("name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp"),
    *("deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers"),
    "managedFields",
)
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True)
class Violation:
    """A place in the object, and what is wrong there: what was given and what is allowed."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class Refused(InvalidInput):
    """The object breaks rules of its kind; `violations` has every one."""

    def __init__(self, what: str, violations: list[Violation]) -> None:
        self.violations = tuple(violations)
        shown = "; ".join(str(v) for v in violations[:SHOWN_VIOLATIONS])
        more = len(violations) - SHOWN_VIOLATIONS
        super().__init__(f"{what} is invalid: {shown}{f'; and {more} more' if more > 0 else ''}")


def admit(
    kind: str, obj: dict[str, Any], *, old: dict[str, Any] | None = None, strict: bool = True
) -> tuple[dict[str, Any], list[str]]:
    """The object as it would be stored (pruned, defaulted), and warnings about what was pruned when not `strict`.

    `kind` is "WorkerPool" or "ScanJob"; `old` is the stored object that this one is to replace, status included
    in both; without it the object is new, and a status in it is dropped. Raises Refused (InvalidInput) with every
    violation.
    """
    what = f"{kind} {_name_of(obj)}"
    if kind not in MODELS:
        raise InvalidInput(f"there is no kind {kind!r}", hint=f"known: {', '.join(MODELS)}")
    schema = kind_schema(kind)
    left_out = ("metadata",) if old is not None else ("metadata", "status")  # a new object has no status of its own
    body, unknown = prepare({name: value for name, value in obj.items() if name not in left_out}, schema)
    metadata, unknown_metadata, found = _check_metadata(obj.get("metadata"))
    unknown += unknown_metadata
    if strict:
        found += [Violation(path, f"is not a field of {kind}{_similar(path, schema)}") for path in unknown]
    found += _check_identity(kind, body)
    whole = {**body, "metadata": _rule_metadata(metadata)}
    before: Any = MISSING
    if old is not None:
        before = {**_prepared_before(old, obj, body, schema), "metadata": _rule_metadata(old["metadata"])}
    found += _check_body(Node("", whole, schema, before))
    if found:
        raise Refused(what, found)
    admitted = {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata}
    admitted |= {name: value for name, value in _whole_numbers(body).items() if name not in admitted}
    return admitted, [f'unknown field "{path}" was left out' for path in unknown]


def _prepared_before(
    old: Mapping[str, Any], obj: Mapping[str, Any], body: Mapping[str, Any], schema: Schema
) -> dict[str, Any]:
    """The stored object as it would be stored now. Parts that the new one took over as they are, are so in both."""
    taken = {name: body[name] for name, value in old.items() if name in body and obj.get(name, MISSING) is value}
    return {**prepare({name: value for name, value in old.items() if name not in taken}, schema)[0], **taken}


def _check_body(root: Node) -> list[Violation]:
    """What the schema refuses; then, where it refuses nothing at or below a place, what that place's rules refuse."""
    visited = nodes(root)
    found = [
        Violation(path, message) for node in visited for path, message in problems(node.value, node.schema, node.path)
    ]
    wrong = [violation.field for violation in found]
    for node in visited:
        if RULES in node.schema and not any(_is_within(path, node.path) for path in wrong):
            found += [Violation(path, message) for path, message in broken_rules(node)]
    return found


def _is_within(path: str, node: str) -> bool:
    return not node or path == node or path.startswith((f"{node}.", f"{node}["))


def _check_identity(kind: str, body: Mapping[str, Any]) -> Iterator[Violation]:
    for name, wanted in (("apiVersion", API_VERSION), ("kind", kind)):
        if body.get(name) != wanted:
            yield Violation(name, f"is {show(body.get(name))}; it must be {wanted}")
    spec = body.get("spec")
    if isinstance(spec, dict) and isinstance(spec.get("replicas"), float):  # /scale reads it, and reads no 3.0
        yield Violation("spec.replicas", f"is {show(spec['replicas'])}; a whole number is needed, without a fraction")


def _check_metadata(given: Any) -> tuple[dict[str, Any], list[str], list[Violation]]:
    """The metadata without unknown members and nulls, the paths of those, and what is wrong with it."""
    if not isinstance(given, dict):
        return {}, [], [Violation("metadata", f"is {show(given)}; a map with at least a name is needed")]
    unknown = [f"metadata.{name}" for name in given if name not in _METADATA]
    kept = {name: value for name, value in given.items() if name in _METADATA and value is not None}
    found = list(_name_problems(kept))
    namespace = kept.get("namespace")
    if namespace is not None and not (isinstance(namespace, str) and _is_label(namespace)):
        allowed = "at most 63 small letters, digits and '-', beginning and ending with a letter or digit"
        found.append(Violation("metadata.namespace", f"is {show(namespace)}; allowed is {allowed}"))
    for member in ("labels", "annotations"):
        values = kept.get(member, {})
        if not isinstance(values, dict):
            found.append(Violation(f"metadata.{member}", f"is {show(values)}; a map of texts is needed"))
            continue
        found += [
            Violation(f"metadata.{member}[{key}]", f"is {show(value)}; a text is needed: put it into quotes")
            for key, value in values.items()
            if not isinstance(value, str)
        ]
    return kept, unknown, found


def _name_problems(metadata: Mapping[str, Any]) -> Iterator[Violation]:
    prefix, name = metadata.get("generateName", ""), metadata.get("name", "")
    if not isinstance(prefix, str) or not isinstance(name, str):
        yield Violation("metadata.name", f"is {show(name or prefix)}; a text is needed: put it into quotes")
    elif not name and not prefix:
        yield Violation("metadata.name", "is missing; it is required")
    elif len(name) > 253 or not _SUBDOMAIN.fullmatch(name or f"{prefix}x"):
        yield Violation(
            "metadata.name",
            f"is {show(name or prefix)}; allowed is at most 253 small letters, digits, '-' and '.', "
            "each part between dots beginning and ending with a letter or digit",
        )


def _is_label(text: str) -> bool:
    return len(text) <= 63 and _LABEL.fullmatch(text) is not None


def _rule_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What rules may read of it: the name, or one such as would be made."""
    return {"name": metadata.get("name") or f"{str(metadata.get('generateName', ''))[:58]}xxxxx"}


def _name_of(obj: Mapping[str, Any]) -> str:
    metadata = obj.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    return str(metadata.get("name") or metadata.get("generateName") or "without a name")


def _similar(path: str, schema: Mapping[str, Any]) -> str:
    """`; did you mean ...?` with the known member of that place that looks most like it."""
    *steps, last = re.findall(r"\[[^\]]*\]|[^.\[\]]+", path)
    for step in steps:
        following = schema.get("properties", {}).get(step) or schema.get("items") or schema.get("additionalProperties")
        if not isinstance(following, Mapping):
            return ""
        schema = following
    close = difflib.get_close_matches(last, schema.get("properties", {}), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _whole_numbers(value: Any) -> Any:
    """3.0 as 3, as JSON that went through the API server has it."""
    if isinstance(value, dict):
        return {
            name: _whole_numbers(child) if isinstance(child, _NUMBERS_IN) else child for name, child in value.items()
        }
    if isinstance(value, list):
        return [_whole_numbers(child) if isinstance(child, _NUMBERS_IN) else child for child in value]
    return int(value) if isinstance(value, float) and is_whole(value) else value
