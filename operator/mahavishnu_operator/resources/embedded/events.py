"""Events in objects.db: written like any other client's, bounded in number, gone with their object."""

from __future__ import annotations

import json
import sqlite3
import uuid
from typing import Any

from mahavishnu_operator.resources.eventing import EventKind, again, event_name, new_event
from mahavishnu_operator.resources.patching import merge_patch
from mahavishnu_operator.resources.protocol import Obj
from mahavishnu_operator.support.errors import Conflict, InvalidInput, NotFound

from . import tables
from .metadata import generated_name, timestamp

MAX_EVENT_BYTES = 16 * 1024


def record(conn: sqlite3.Connection, obj: Obj, *, reason: str, message: str, type_: EventKind) -> None:
    """Note an Event, or count one more of it. Of an object that is gone nothing is kept."""
    now = timestamp()
    found = find(
        conn,
        obj["metadata"].get("namespace", "default"),
        event_name(obj, reason=reason, message=message, type_=type_),
    )
    if found is not None:
        _write(conn, merge_patch(found, again(found, now=now)))
    elif _exists(conn, obj["metadata"].get("uid")):
        _write(conn, new_event(obj, reason=reason, message=message, type_=type_, now=now))


def create(conn: sqlite3.Connection, namespace: str, event: Obj) -> Obj:
    """Store an Event as a client sent it. InvalidInput, Conflict (AlreadyExists), NotFound for its object."""
    meta = event.get("metadata")
    if not isinstance(meta, dict) or not isinstance(event.get("involvedObject"), dict):
        raise InvalidInput("an Event needs metadata and involvedObject", reason="BadRequest")
    if not meta.get("name") and isinstance(meta.get("generateName"), str):
        meta = {**meta, "name": generated_name(meta["generateName"])}
    if not isinstance(meta.get("name"), str) or not 0 < len(meta["name"]) <= 253:
        raise InvalidInput("metadata.name of an Event must have 1 to 253 characters")
    if meta.get("namespace", namespace) != namespace:
        raise InvalidInput(f"the Event is of namespace {meta['namespace']!r} but was sent to {namespace!r}")
    if find(conn, namespace, meta["name"]) is not None:
        raise Conflict(f'events "{meta["name"]}" already exists in namespace {namespace!r}', reason="AlreadyExists")
    if not _exists(conn, event["involvedObject"].get("uid")):
        raise NotFound(f"the object of event {meta['name']!r} is not here", hint="only our own kinds have events here")
    return _write(conn, {**event, "metadata": {**meta, "namespace": namespace}})


def merge(conn: sqlite3.Connection, namespace: str, name: str, patch: Any) -> Obj:
    """Change an Event by a JSON merge patch. NotFound."""
    found = find(conn, namespace, name)
    if found is None:
        raise NotFound(f'events "{name}" not found in namespace {namespace!r}')
    changed = merge_patch(found, patch)
    if not isinstance(changed, dict) or changed.get("involvedObject") != found["involvedObject"]:
        raise InvalidInput("involvedObject of an Event cannot be changed")
    changed["metadata"] = found["metadata"]
    return _write(conn, changed)


def find(conn: sqlite3.Connection, namespace: str, name: str) -> Obj | None:
    """One Event, or None."""
    row = conn.execute("SELECT body FROM events WHERE (namespace, name) = (?, ?)", (namespace, name)).fetchone()
    return None if row is None else json.loads(row[0])


def find_all(conn: sqlite3.Connection, *, namespace: str | None = None, uid: str | None = None) -> list[Obj]:
    """Events by age of their last change, oldest first; of one namespace or object, or all."""
    rows = conn.execute(
        """SELECT body FROM events WHERE (?1 IS NULL OR namespace = ?1) AND (?2 IS NULL OR uid = ?2)
           ORDER BY version""",
        (namespace, uid),
    )
    return [json.loads(body) for (body,) in rows]


def _exists(conn: sqlite3.Connection, uid: Any) -> bool:
    return conn.execute("SELECT 1 FROM objects WHERE uid = ?", (str(uid),)).fetchone() is not None


def _write(conn: sqlite3.Connection, event: Obj) -> Obj:
    version = tables.next_version(conn)
    meta = event["metadata"]
    fresh = {"uid": str(uuid.uuid4()), "creationTimestamp": timestamp()}
    event = {**event, "apiVersion": "v1", "kind": "Event"}
    event["metadata"] = {**fresh, **meta, "resourceVersion": str(version)}
    body = tables.dumps(event)
    if len(body) > MAX_EVENT_BYTES:
        raise InvalidInput(f"event {meta['name']!r} has {len(body)} bytes; at most {MAX_EVENT_BYTES} are allowed")
    uid = event["involvedObject"]["uid"]
    conn.execute(
        "INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?)",
        (meta["namespace"], meta["name"], uid, version, body),
    )
    conn.execute(
        """DELETE FROM events WHERE uid = ?1 AND version <= (
               SELECT version FROM events WHERE uid = ?1 ORDER BY version DESC LIMIT 1 OFFSET ?2)""",
        (uid, tables.EVENTS_PER_OBJECT),
    )
    return event
