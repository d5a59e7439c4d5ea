"""The tables of objects.db and single steps on them; callers put the steps into transactions.

Objects are kept as JSON text. Every write takes the next number of one counter as its resourceVersion
and leaves a row in `changes`, from which watches are served, also across a restart. That history is
bounded: `forgotten` is the newest version that a watch can no longer start from, `bytes` how long its texts are
together.

What must stay true: versions only rise, over all kinds; a change row is written in the same transaction
as the object's row; events go with their object.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from mahavishnu_operator.resources.protocol import EventType, Key, Kind, Obj

MIGRATIONS = (
    """
    CREATE TABLE counter (id INTEGER PRIMARY KEY CHECK (id = 0), version INTEGER NOT NULL, forgotten INTEGER NOT NULL);
    INSERT INTO counter VALUES (0, 1, 0);
    CREATE TABLE objects (
        kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
        uid TEXT NOT NULL UNIQUE, body TEXT NOT NULL,
        PRIMARY KEY (kind, namespace, name)
    );
    CREATE TABLE owners (
        uid TEXT NOT NULL REFERENCES objects (uid) ON DELETE CASCADE, owner TEXT NOT NULL, PRIMARY KEY (owner, uid)
    );
    CREATE TABLE changes (
        version INTEGER PRIMARY KEY, kind TEXT NOT NULL, namespace TEXT NOT NULL,
        type TEXT NOT NULL, body TEXT NOT NULL, labels_before TEXT
    );
    CREATE INDEX changes_by_kind ON changes (kind, version);
    CREATE TABLE events (
        namespace TEXT NOT NULL, name TEXT NOT NULL, uid TEXT NOT NULL REFERENCES objects (uid) ON DELETE CASCADE,
        version INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (namespace, name)
    );
    CREATE INDEX events_by_object ON events (uid, version);
    """,
    """
    ALTER TABLE counter ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
    UPDATE counter SET bytes = (SELECT coalesce(sum(length(body)), 0) FROM changes);
    """,
)

HISTORY_CHANGES = 5_000
HISTORY_BYTES = 64 * 1024 * 1024
PRUNE_EVERY = 64  # versions
EVENTS_PER_OBJECT = 50


@dataclass(frozen=True)
class Change:
    """One row of the history. `labels_before` is None for an object that was not there before; `size` of its text."""

    version: int
    type: EventType
    object: Obj
    labels_before: dict[str, str] | None
    size: int = 0


def dumps(value: Any) -> str:
    """JSON in ASCII, so that no string, however odd, can fail to be stored or sent."""
    return json.dumps(value, separators=(",", ":"))


def next_version(conn: sqlite3.Connection) -> int:
    """Count one up."""
    (version,) = conn.execute("UPDATE counter SET version = version + 1 RETURNING version").fetchone()
    return int(version)


def current_version(conn: sqlite3.Connection) -> int:
    """The newest version there is."""
    return int(conn.execute("SELECT version FROM counter").fetchone()[0])


def forgotten_version(conn: sqlite3.Connection) -> int:
    """The newest version whose later changes are no longer all kept."""
    return int(conn.execute("SELECT forgotten FROM counter").fetchone()[0])


def find(conn: sqlite3.Connection, kind: Kind, key: Key) -> Obj | None:
    """The object, or None."""
    row = conn.execute(
        "SELECT body FROM objects WHERE (kind, namespace, name) = (?, ?, ?)", (kind.kind, key.namespace, key.name)
    ).fetchone()
    return None if row is None else json.loads(row[0])


def find_all(conn: sqlite3.Connection, kind: Kind, namespace: str | None) -> list[Obj]:
    """All objects of a kind by namespace and name, in one namespace or in all."""
    rows = conn.execute(
        "SELECT body FROM objects WHERE kind = ?1 AND (?2 IS NULL OR namespace = ?2) ORDER BY namespace, name",
        (kind.kind, namespace),
    )
    return [json.loads(body) for (body,) in rows]


def namespaces(conn: sqlite3.Connection) -> list[str]:
    """The namespaces that hold an object."""
    return [name for (name,) in conn.execute("SELECT DISTINCT namespace FROM objects ORDER BY namespace")]


def put(conn: sqlite3.Connection, kind: Kind, obj: Obj, *, before: Obj | None) -> Obj:
    """Write the object under the next version and note the change; answers it with that version."""
    version = next_version(conn)
    stored = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(version)}}
    meta, body = stored["metadata"], dumps(stored)
    if before is None:
        conn.execute(
            "INSERT INTO objects VALUES (?, ?, ?, ?, ?)",
            (kind.kind, meta["namespace"], meta["name"], meta["uid"], body),
        )
    else:
        conn.execute("UPDATE objects SET body = ? WHERE uid = ?", (body, meta["uid"]))
        conn.execute("DELETE FROM owners WHERE uid = ?", (meta["uid"],))
    owners = {str(ref["uid"]) for ref in meta.get("ownerReferences", ())}
    conn.executemany("INSERT INTO owners VALUES (?, ?)", [(meta["uid"], owner) for owner in sorted(owners)])
    _note(conn, kind, EventType.ADDED if before is None else EventType.MODIFIED, stored, before, body=body)
    return stored


def remove(conn: sqlite3.Connection, kind: Kind, obj: Obj) -> Obj:
    """Remove the object with its events, and note it; answers its last state under the version of the removal."""
    gone = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(next_version(conn))}}
    conn.execute("DELETE FROM objects WHERE uid = ?", (obj["metadata"]["uid"],))
    _note(conn, kind, EventType.DELETED, gone, obj, body=dumps(gone))
    return gone


def dependents(conn: sqlite3.Connection, owner_uid: str) -> list[Obj]:
    """The objects that name this owner and no other owner that is still there."""
    rows = conn.execute(
        """SELECT body FROM objects JOIN owners USING (uid) WHERE owners.owner = ?1 AND NOT EXISTS (
               SELECT 1 FROM owners AS other JOIN objects AS alive ON alive.uid = other.owner
               WHERE other.uid = owners.uid AND other.owner <> ?1)""",
        (owner_uid,),
    )
    return [json.loads(body) for (body,) in rows]


def _note(conn: sqlite3.Connection, kind: Kind, type_: EventType, obj: Obj, before: Obj | None, *, body: str) -> None:
    meta = obj["metadata"]
    version = int(meta["resourceVersion"])
    labels = None if before is None else dumps(before["metadata"].get("labels", {}))
    conn.execute(
        "INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?)",
        (version, kind.kind, meta["namespace"], type_.value, body, labels),
    )
    conn.execute("UPDATE counter SET bytes = bytes + ?", (len(body),))
    if version % PRUNE_EVERY == 0:
        prune_history(conn)


def prune_history(
    conn: sqlite3.Connection, *, max_changes: int = HISTORY_CHANGES, max_bytes: int = HISTORY_BYTES
) -> None:
    """Forget the oldest changes beyond either bound. Their texts are read only where there are too many bytes."""
    (kept,) = conn.execute("SELECT count(*) FROM changes").fetchone()
    if kept > max_changes:
        last = "SELECT version FROM changes ORDER BY version LIMIT 1 OFFSET ?"
        _forget(conn, *conn.execute(last, (kept - max_changes - 1,)).fetchone())
    if conn.execute("SELECT bytes FROM counter").fetchone()[0] > max_bytes:
        (oldest,) = conn.execute(
            """SELECT max(version) FROM (
                   SELECT version, sum(length(body)) OVER (ORDER BY version DESC) AS bytes FROM changes)
               WHERE bytes > ?""",
            (max_bytes,),
        ).fetchone()
        _forget(conn, oldest)


def _forget(conn: sqlite3.Connection, version: int) -> None:
    """Drop the changes up to that one."""
    (gone,) = conn.execute(
        "SELECT coalesce(sum(length(body)), 0) FROM changes WHERE version <= ?", (version,)
    ).fetchone()
    conn.execute("DELETE FROM changes WHERE version <= ?", (version,))
    conn.execute("UPDATE counter SET forgotten = ?, bytes = bytes - ?", (version, gone))


def changes_after(
    conn: sqlite3.Connection, kind: Kind, namespace: str | None, version: int, *, limit: int
) -> list[Change]:
    """The oldest changes of a kind after a version, at most `limit`."""
    rows = conn.execute(
        """SELECT version, type, body, labels_before FROM changes
           WHERE kind = ?1 AND version > ?2 AND (?3 IS NULL OR namespace = ?3) ORDER BY version LIMIT ?4""",
        (kind.kind, version, namespace, limit),
    )
    return [_change(*row) for row in rows]


def all_changes_after(conn: sqlite3.Connection, version: int) -> list[Change]:
    """The changes of all kinds after a version."""
    rows = conn.execute(
        "SELECT version, type, body, labels_before FROM changes WHERE version > ? ORDER BY version", (version,)
    )
    return [_change(*row) for row in rows]


def _change(version: int, type_: str, body: str, labels: str | None) -> Change:
    before = None if labels is None else json.loads(labels)
    return Change(version, EventType(type_), json.loads(body), before, len(body))
