"""Whose an object is that a client makes, and how the object says so; pure.

The pressure: callers close, change and search what is their own, so a name on an object must be worth something. What
must stay true: on a cluster `created-by` is written for callers alone whom the API server has named (docs/adr/0021);
whoever speaks for themselves there is known by another label, which proves nothing and opens nothing of the first; two
callers whom it has named never have one value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from mahavishnu_operator.api.reasons import Label
from mahavishnu_operator.resources.protocol import Obj
from mahavishnu_operator.support.text import printable

from .ids import label_value

READABLE = 30  # characters of a name in a label's value, before its digest
LONGEST_NAME = 253
SERVICE_ACCOUNT = "system:serviceaccount:"


@dataclass(frozen=True)
class Maker:
    """Somebody, as a label of theirs has it. `name`: in full, where it was proven; empty: it is no more than said."""

    label: Label
    value: str
    name: str = ""

    @classmethod
    def said(cls, name: str, *, embedded: bool) -> Maker:
        """Whoever says to be that. Beside `mahavishnu up` there is one user and nothing to prove."""
        return cls(Label.CREATED_BY if embedded else Label.CLAIMED_BY, label_value(name))

    @classmethod
    def proven(cls, name: str) -> Maker:
        """A user of the cluster; no other user has the same value."""
        readable = label_value(name.removeprefix(SERVICE_ACCOUNT))[:READABLE].strip("-._")
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return cls(Label.CREATED_BY, f"{readable}-{digest}", name)

    @property
    def labels(self) -> dict[str, str]:
        """What their objects carry."""
        return {self.label.value: self.value}

    @property
    def annotations(self) -> dict[str, str]:
        """The same for people to read, where a label has no room for the whole name."""
        return {Label.CREATED_BY_NAME.value: printable(self.name[:LONGEST_NAME])} if self.name else {}

    @property
    def selector(self) -> str:
        """What lists their objects alone."""
        return f"{self.label.value}={self.value}"

    def made(self, obj: Obj) -> bool:
        """Whether an object is theirs."""
        return bool(_labels(obj).get(self.label.value) == self.value)


def maker_named_on(obj: Obj) -> str:
    """Who made an object, by the label that is worth more; empty: it does not say."""
    labels = _labels(obj)
    return str(labels.get(Label.CREATED_BY) or labels.get(Label.CLAIMED_BY) or "")


def _labels(obj: Obj) -> Mapping[str, str]:
    return obj["metadata"].get("labels") or {}
