"""Objects in the form that a client asked for: as they are, metadata alone, or rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from mahavishnu_operator.api.reasons import API_VERSION
from mahavishnu_operator.resources import schemas
from mahavishnu_operator.resources.protocol import Kind, Obj
from mahavishnu_operator.resources.schemas import Column
from mahavishnu_operator.support.errors import InvalidInput

from .columns import cell

META = "meta.k8s.io/v1"
NAME = Column("Name", "string", ".metadata.name", "Name of the object.", "name")


def show_list(items: Sequence[Obj], *, kind: Kind, version: str, form: str, include: str) -> Obj:
    """A list of objects in that form."""
    meta = {"resourceVersion": version}
    if form == "Table":
        return table(items, schemas.columns(kind), version=version, include=include)
    if form:
        rows = [partial_metadata(obj) for obj in items]
        return {"kind": "PartialObjectMetadataList", "apiVersion": META, "metadata": meta, "items": rows}
    return {"apiVersion": API_VERSION, "kind": f"{kind.kind}List", "metadata": meta, "items": list(items)}


def show_one(obj: Obj, *, kind: Kind, form: str, include: str, headers: bool = True) -> Obj:
    """One object in that form; `headers` False leaves out a table's column definitions."""
    if form == "Table":
        version = obj["metadata"]["resourceVersion"]
        return table([obj], schemas.columns(kind), version=version, include=include, headers=headers)
    return partial_metadata(obj) if form else obj


def partial_metadata(obj: Obj) -> Obj:
    """The object's metadata alone."""
    return {"kind": "PartialObjectMetadata", "apiVersion": META, "metadata": obj["metadata"]}


def table(items: Sequence[Obj], columns: Sequence[Column], *, version: str, include: str, headers: bool = True) -> Obj:
    """A meta.k8s.io/v1 Table; `include` says what goes with each row: None, Metadata or Object."""
    if include not in ("", "None", "Metadata", "Object"):
        raise InvalidInput(f"includeObject {include!r} is not None, Metadata or Object", reason="BadRequest")
    now = datetime.now(UTC)
    shown = (NAME, *columns)
    rows: list[dict[str, Any]] = []
    for obj in items:
        row: dict[str, Any] = {"cells": [cell(column, obj, now=now) for column in shown]}
        if include != "None":
            row["object"] = obj if include == "Object" else partial_metadata(obj)
        rows.append(row)
    definitions = [
        {"name": c.name, "type": c.type, "format": c.format, "description": c.description, "priority": c.priority}
        for c in shown
    ]
    return {
        "kind": "Table",
        "apiVersion": META,
        "metadata": {"resourceVersion": version},
        "columnDefinitions": definitions if headers else [],
        "rows": rows,
    }
