"""Label and field selectors as kubectl writes them, parsed once and matched against dictionaries.

The pressure: a selector that is misread selects too much, and the next verb may be `delete`. So whatever
does not parse is refused; nothing is guessed. What must stay true: `!=` and `notin` also match objects
without the label, as the API server has it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from mahavishnu_operator.support.errors import InvalidInput

_NAME = r"(?:[A-Za-z0-9.-]+/)?[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)?"
_SET = re.compile(rf"\s*({_NAME})\s+(in|notin)\s*\(([^()]*)\)\s*")
_EQUAL = re.compile(rf"\s*({_NAME})\s*(==|=|!=)\s*({_VALUE})\s*")
_EXISTS = re.compile(rf"\s*(!?)\s*({_NAME})\s*")
_FIELD = re.compile(r"\s*([A-Za-z.]+)\s*(==|=|!=)\s*([^,=]*?)\s*")


@dataclass(frozen=True)
class Requirement:
    """One term: the label's (or field's) value must be in `values`, or with `negate` must not be.

    `values` None stands for any value at all: the label exists.
    """

    key: str
    values: frozenset[str] | None
    negate: bool = False

    def admits(self, value: str | None) -> bool:
        """Whether this value (None: absent) satisfies the term."""
        inside = value is not None and (self.values is None or value in self.values)
        return inside != self.negate


@dataclass(frozen=True)
class Selector:
    """Terms that must all hold; none: everything matches."""

    terms: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return all(term.admits(labels.get(term.key)) for term in self.terms)

    def matches_fields(self, obj: Mapping[str, Any]) -> bool:
        """Whether the object's fields, named by dotted paths, are selected; an absent field reads as empty."""
        return all(term.admits(_field(obj, term.key)) for term in self.terms)


EVERYTHING = Selector()


def parse_labels(text: str) -> Selector:
    """The label selector. InvalidInput names the part that cannot be read."""
    terms: list[Requirement] = []
    at = 0
    while text.strip() and at <= len(text):
        term, at = _next_label_term(text, at)
        terms.append(term)
        if at == len(text):
            break
        if text[at] != ",":
            raise _unreadable("label", text, text[at:])
        at += 1
    return Selector(tuple(terms))


def parse_fields(text: str, supported: Collection[str]) -> Selector:
    """The field selector; only the named fields can be selected by."""
    terms: list[Requirement] = []
    for part in text.split(",") if text.strip() else []:
        match = _FIELD.fullmatch(part)
        if match is None:
            raise _unreadable("field", text, part)
        name, operator, value = match.groups()
        if name not in supported:
            raise InvalidInput(
                f"field selector {text!r}: objects cannot be selected by {name}",
                hint=f"supported: {', '.join(sorted(supported))}",
                reason="BadRequest",
            )
        terms.append(Requirement(name, frozenset({value}), operator == "!="))
    return Selector(tuple(terms))


def _next_label_term(text: str, at: int) -> tuple[Requirement, int]:
    if match := _SET.match(text, at):
        values = frozenset(v.strip() for v in match[3].split(","))
        if all(re.fullmatch(_VALUE, v) for v in values):
            return Requirement(match[1], values, match[2] == "notin"), match.end()
    elif match := _EQUAL.match(text, at):
        return Requirement(match[1], frozenset({match[3]}), match[2] == "!="), match.end()
    elif match := _EXISTS.match(text, at):
        return Requirement(match[2], None, match[1] == "!"), match.end()
    raise _unreadable("label", text, text[at:])


def _unreadable(what: str, text: str, part: str) -> InvalidInput:
    return InvalidInput(
        f"{what} selector {text!r} cannot be read at {part!r}",
        hint="write it as a=b,c!=d" + (",e in (f,g),h,!i" if what == "label" else ""),
        reason="BadRequest",
    )


def _field(obj: Mapping[str, Any], path: str) -> str:
    value: Any = obj
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return "" if value is None else str(value)
