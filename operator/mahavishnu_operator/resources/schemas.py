"""What the embedded API takes from the generated CRDs: schema, printer columns, list types.

Loaded once and on first use: building them imports the models and takes longer than most commands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from mahavishnu_operator.api.reasons import VERSION

from .ownership import ListTypes
from .protocol import Kind


@dataclass(frozen=True)
class Column:
    """A printer column: its header, OpenAPI type and format, and the JSONPath of its value."""

    name: str
    type: str
    path: str
    description: str = ""
    format: str = ""
    priority: int = 0


@cache
def definition(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of the kind."""
    from mahavishnu_operator.api.crd import crd

    return crd(kind.kind)


@cache
def _version(kind: Kind) -> dict[str, Any]:
    versions = definition(kind)["spec"]["versions"]
    found: dict[str, Any] = next(v for v in versions if v["name"] == VERSION)
    return found


def schema(kind: Kind) -> dict[str, Any]:
    """The structural OpenAPI schema of the kind's objects."""
    found: dict[str, Any] = _version(kind)["schema"]["openAPIV3Schema"]
    return found


def columns(kind: Kind) -> tuple[Column, ...]:
    """The columns of `kubectl get`, without the name, which always comes first."""
    return tuple(
        Column(
            column["name"],
            column["type"],
            column["jsonPath"],
            column.get("description", ""),
            column.get("format", ""),
            column.get("priority", 0),
        )
        for column in _version(kind).get("additionalPrinterColumns", [])
    )


@cache
def list_types(kind: Kind) -> ListTypes:
    """The lists whose items are owned on their own."""
    return ListTypes.of_schema(schema(kind))


def has_scale(kind: Kind) -> bool:
    """Whether the kind has the subresource /scale."""
    return "scale" in (_version(kind).get("subresources") or {})


def names(kind: Kind) -> dict[str, Any]:
    """The names of the kind as its CRD declares them, with categories."""
    found: dict[str, Any] = definition(kind)["spec"]["names"]
    return found
