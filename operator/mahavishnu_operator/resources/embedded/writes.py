"""Writing objects: what one create, change, apply or delete means, as transaction scripts on a connection.

The pressure: every client (kubectl, GitOps, reconcilers) relies on small print of the API server: spec
writes never touch status and the other way round, generation counts changes of the spec alone, a write
that changes nothing is no write, a stale resourceVersion is a conflict. It is all here, once, and each
script runs inside the one transaction that reads and writes.

What must stay true: nothing is stored that `admit` has not accepted; a script either raises and leaves
nothing, or answers the object as stored.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mahavishnu_operator.api.base import MAX_OBJECT_BYTES
from mahavishnu_operator.api.reasons import API_VERSION
from mahavishnu_operator.resources import managed_fields, ownership
from mahavishnu_operator.resources.ownership import Manager, Operation
from mahavishnu_operator.resources.patching import merge_patch
from mahavishnu_operator.resources.protocol import KINDS, Key, Kind, Obj
from mahavishnu_operator.resources.schemas import list_types
from mahavishnu_operator.support.errors import Conflict, InvalidInput, NotFound

from . import tables
from .metadata import generated_name, is_namespace, timestamp, user_metadata, with_server_fields

MAX_STORED_BYTES = 1024 * 1024  # with status and ownership; etcd's own limit is 1.5 MiB


@dataclass(frozen=True)
class Options:
    """Who writes (metadata.managedFields), and whether unknown fields are refused or pruned with a warning."""

    manager: str = "mahavishnu"
    strict: bool = True


@dataclass(frozen=True)
class Written:
    """The stored object, warnings for the writer, and whether it is new."""

    object: Obj
    warnings: tuple[str, ...] = ()
    created: bool = False


def create(conn: sqlite3.Connection, kind: Kind, obj: Obj, options: Options) -> Written:
    """Store a new object. Conflict (AlreadyExists) when its name is taken."""
    _identify(kind, obj)
    if obj["metadata"].get("resourceVersion"):
        raise InvalidInput("metadata.resourceVersion must not be set on an object to be created", hint="leave it out")
    return _create(conn, kind, obj, options, operation="Update")


def change(
    conn: sqlite3.Connection,
    kind: Kind,
    key: Key,
    edit: Callable[[Obj], Any],
    options: Options,
    *,
    part: Literal["spec", "status"] = "spec",
) -> Written:
    """Store what `edit` makes of the object: all but status, or with part `status` nothing but status.

    The edited object may carry metadata.resourceVersion and uid; when they are not those of the stored
    object, it is a Conflict.
    """
    old = get(conn, kind, key)
    wanted = edit(old)
    if not isinstance(wanted, dict):
        raise InvalidInput(f"{kind.singular} {key}: the result of the change is no object")
    _identify(kind, wanted)
    if Key.of(wanted) != key:
        raise InvalidInput(
            f"{kind.singular} {key}: the name or namespace in the object is {Key.of(wanted)}",
            hint="an object cannot be renamed: create another one",
        )
    _guard(kind, key, old, wanted["metadata"])
    if part == "status":
        return _update_status(conn, kind, old, wanted.get("status") or {}, options)
    wanted = {**_without_status(wanted), "status": old.get("status")}
    managers = managed_fields.decode(wanted["metadata"].get("managedFields") or old["metadata"].get("managedFields"))
    return _update(conn, kind, old, wanted, options, managers=managers, tracked=True)


def merge(
    conn: sqlite3.Connection,
    kind: Kind,
    key: Key,
    patch: Obj,
    options: Options,
    *,
    part: Literal["spec", "status"] = "spec",
) -> Written:
    """`change` by a JSON merge patch."""
    return change(conn, kind, key, lambda old: merge_patch(old, patch), options, part=part)


def apply(conn: sqlite3.Connection, kind: Kind, obj: Obj, options: Options, *, force: bool) -> Written:
    """Server-side apply. ApplyConflict when it would change what another manager owns, unless forced."""
    _identify(kind, obj)
    if obj["metadata"].get("managedFields"):
        raise InvalidInput("metadata.managedFields must be empty in an apply", hint="leave it out")
    if not obj["metadata"].get("name"):
        raise InvalidInput("metadata.name is needed to apply an object", hint="generateName works with create alone")
    obj = _without_status(obj)
    key = Key.of(obj)
    old = tables.find(conn, kind, key)
    if old is None:
        if obj["metadata"].get("resourceVersion") or obj["metadata"].get("uid"):
            raise Conflict(
                f"{kind.singular} {key} was deleted meanwhile",
                hint="apply without resourceVersion and uid to create it",
            )
        return _create(conn, kind, obj, options, operation="Apply")
    _guard(kind, key, old, obj["metadata"])
    types = list_types(kind)
    merged, managers = ownership.apply_leaves(
        ownership.leaves_of(old, types),
        ownership.leaves_of(obj, types),
        managed_fields.decode(old["metadata"].get("managedFields")),
        manager=options.manager,
        force=force,
        now=timestamp(),
    )
    body = ownership.object_of(merged)
    tracked = {"labels", "annotations", "ownerReferences", "finalizers"}
    meta = {name: value for name, value in obj["metadata"].items() if name not in tracked} | body.pop("metadata", {})
    wanted = {"apiVersion": API_VERSION, "kind": kind.kind, "metadata": meta, **body, "status": old.get("status")}
    return _update(conn, kind, old, wanted, options, managers=managers, tracked=False)


def delete(
    conn: sqlite3.Connection,
    kind: Kind,
    key: Key,
    *,
    uid: str | None = None,
    version: str | None = None,
    orphan: bool = False,
) -> Written:
    """Delete the object and what only it owns (with `orphan`, those lose their owner instead).

    With finalizers it is only marked, and goes when the last is taken off.
    NotFound when the object, or the very one with that uid, is gone; Conflict when it has another version.
    """
    old = get(conn, kind, key)
    if uid is not None and old["metadata"]["uid"] != uid:
        raise Replaced(
            f"{kind.singular} {key} with uid {uid} is gone: the one there now has uid {old['metadata']['uid']}"
        )
    _guard(kind, key, old, {"resourceVersion": version})
    if orphan:
        _disown(conn, old["metadata"]["uid"])
    if not old["metadata"].get("finalizers"):
        return Written(_remove(conn, kind, old))
    if "deletionTimestamp" in old["metadata"]:
        return Written(old)
    meta = {
        **old["metadata"],
        "deletionTimestamp": timestamp(),
        "deletionGracePeriodSeconds": 0,
        "generation": old["metadata"]["generation"] + 1,
    }
    return Written(tables.put(conn, kind, {**old, "metadata": meta}, before=old))


class Replaced(NotFound):
    """An object of that name exists, but it is another one than was meant."""


def get(conn: sqlite3.Connection, kind: Kind, key: Key) -> Obj:
    """The object. NotFound."""
    found = tables.find(conn, kind, key)
    if found is None:
        raise NotFound(f'{kind.plural} "{key.name}" not found in namespace {key.namespace!r}')
    return found


def _create(conn: sqlite3.Connection, kind: Kind, obj: Obj, options: Options, *, operation: Operation) -> Written:
    meta = {**obj["metadata"], "namespace": obj["metadata"].get("namespace") or "default"}
    if not meta.get("name") and isinstance(meta.get("generateName"), str) and meta["generateName"]:
        meta["name"] = generated_name(meta["generateName"])
    if not isinstance(meta["namespace"], str) or not is_namespace(meta["namespace"]):
        raise InvalidInput(
            f"metadata.namespace: {meta['namespace']!r} cannot be a namespace",
            hint="at most 63 small letters, digits and '-', beginning and ending with a letter or digit",
        )
    admitted, warnings = _admit(kind, {**_without_status(obj), "metadata": meta}, None, options)
    key = Key.of(admitted)
    if tables.find(conn, kind, key) is not None:
        raise Conflict(
            f'{kind.plural} "{key.name}" already exists in namespace {key.namespace!r}', reason="AlreadyExists"
        )
    now = timestamp()
    fresh = {"uid": str(uuid.uuid4()), "generation": 1, "creationTimestamp": now}
    new = with_server_fields(admitted, user_metadata(admitted["metadata"]), fresh)
    leaves = ownership.leaves_of(new, list_types(kind))
    paths = frozenset(ownership.leaves_of(obj, list_types(kind)) if operation == "Apply" else leaves)
    managers = ownership.prune([Manager(options.manager, operation, now, paths)], leaves)
    new["metadata"]["managedFields"] = managed_fields.encode(managers)
    _check_size(kind, key, new)
    return Written(tables.put(conn, kind, new, before=None), warnings, created=True)


def _update(
    conn: sqlite3.Connection,
    kind: Kind,
    old: Obj,
    wanted: Obj,
    options: Options,
    *,
    managers: Sequence[Manager],
    tracked: bool,
) -> Written:
    """Store `wanted` over `old`; with `tracked`, what differs becomes the writer's own."""
    admitted, warnings = _admit(kind, wanted, old, options)
    new = with_server_fields(admitted, user_metadata(admitted["metadata"]), old["metadata"])
    types = list_types(kind)
    after = ownership.leaves_of(new, types)
    if tracked:
        before = ownership.leaves_of(old, types)
        managers = ownership.update_managers(before, after, managers, manager=options.manager, now=timestamp())
    new["metadata"]["managedFields"] = managed_fields.encode(ownership.prune(managers, after))
    new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
    if _same(new, old):
        return Written(old, warnings)
    if not _same(_desired(new), _desired(old)):
        new["metadata"]["generation"] = old["metadata"]["generation"] + 1
    _check_size(kind, Key.of(new), new)
    if "deletionTimestamp" in new["metadata"] and not new["metadata"].get("finalizers"):
        return Written(_remove(conn, kind, new), warnings)
    return Written(tables.put(conn, kind, new, before=old), warnings)


def _update_status(conn: sqlite3.Connection, kind: Kind, old: Obj, status: Any, options: Options) -> Written:
    """Store a status. Spec and ownership stay as they are and are not compared: this write is the frequent one."""
    admitted, warnings = _admit(kind, {**old, "status": status}, old, options)
    new = {**old, "status": admitted.get("status", {})}
    if _same(new["status"], old.get("status")):
        return Written(old, warnings)
    _check_size(kind, Key.of(new), new)
    return Written(tables.put(conn, kind, new, before=old), warnings)


def _remove(conn: sqlite3.Connection, kind: Kind, obj: Obj) -> Obj:
    gone = tables.remove(conn, kind, obj)
    for child in tables.dependents(conn, obj["metadata"]["uid"]):
        child_kind = _kind_of(child)
        if tables.find(conn, child_kind, Key.of(child)) is not None:  # not yet gone by another way
            delete(conn, child_kind, Key.of(child))
    return gone


def _disown(conn: sqlite3.Connection, owner: str) -> None:
    for child in tables.dependents(conn, owner):
        kept = [ref for ref in child["metadata"]["ownerReferences"] if ref["uid"] != owner]
        kind = _kind_of(child)
        change(
            conn,
            kind,
            Key.of(child),
            lambda old, kept=kept: {**old, "metadata": {**old["metadata"], "ownerReferences": kept}},  # type: ignore[misc]
            Options(),
        )


def _admit(kind: Kind, obj: Obj, old: Obj | None, options: Options) -> tuple[Obj, tuple[str, ...]]:
    from mahavishnu_operator.api.validation import admit  # loads the models and CEL: not for every command

    admitted, warnings = admit(kind.kind, obj, old=old, strict=options.strict)
    return admitted, tuple(warnings)


def _identify(kind: Kind, obj: Obj) -> None:
    given = obj.get("apiVersion"), obj.get("kind")
    if given != (API_VERSION, kind.kind):
        raise InvalidInput(
            f"the object is apiVersion {given[0]!r}, kind {given[1]!r}",
            hint=f"here it must be {API_VERSION}, {kind.kind}",
            reason="BadRequest",
        )
    if not isinstance(obj.get("metadata"), dict):
        raise InvalidInput(f"the {kind.kind} has no metadata", hint="it needs at least a name", reason="BadRequest")


def _guard(kind: Kind, key: Key, old: Obj, meta: dict[str, Any]) -> None:
    for name in ("resourceVersion", "uid"):
        if meta.get(name) and meta[name] != old["metadata"][name]:
            raise Conflict(
                f"{kind.singular} {key} has changed: its {name} is {old['metadata'][name]}, not {meta[name]}",
                hint="read it again and make the change on what you read",
            )


def _kind_of(obj: Obj) -> Kind:
    return next(kind for kind in KINDS if kind.kind == obj["kind"])


def _without_status(obj: Obj) -> Obj:
    return {name: value for name, value in obj.items() if name != "status"}


def _desired(obj: Obj) -> Obj:
    return {name: value for name, value in obj.items() if name not in ("metadata", "status")}


def _same(one: Any, other: Any) -> bool:
    """Equality of JSON values at the speed of C; to `==` alone, true is 1."""
    return bool(one == other) and json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _check_size(kind: Kind, key: Key, obj: Obj) -> None:
    stored = len(tables.dumps(obj))
    if stored <= MAX_OBJECT_BYTES:
        return
    meta = {name: value for name, value in obj["metadata"].items() if name != "managedFields"}
    written = len(tables.dumps({**_without_status(obj), "metadata": meta}))
    if written > MAX_OBJECT_BYTES:
        raise InvalidInput(
            f"{kind.singular} {key} has {written} bytes; at most {MAX_OBJECT_BYTES} are allowed",
            hint="split it, or move large inputs out of the object",
        )
    if stored > MAX_STORED_BYTES:
        raise InvalidInput(
            f"{kind.singular} {key} has {stored} bytes with its status; at most {MAX_STORED_BYTES} are allowed",
            hint="the status must say less",
        )
