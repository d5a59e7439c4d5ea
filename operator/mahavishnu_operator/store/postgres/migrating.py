"""Migrations of a PostgreSQL store: forward only, each in one transaction, one process at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from mahavishnu_operator.support.errors import InvalidInput

from .marking import TABLE
from .session import Connection, as_postgres

_LOCK = 0x6D61_6861  # of pg_advisory_xact_lock: any number that only this program uses

# What PostgreSQL needs beside the tables that both databases have, by the version of the schema it came with.
ADDITIONS: dict[int, str] = {
    1: """
    CREATE TABLE blobs (
        sha256 TEXT PRIMARY KEY,
        data BYTEA NOT NULL,
        put_at DOUBLE PRECISION NOT NULL
    );
    CREATE INDEX blobs_by_age ON blobs (put_at);
    ALTER TABLE blobs ALTER COLUMN data SET STORAGE EXTERNAL;
    """,
}


def migrate(connection: Connection, migrations: Sequence[str], *, name: str) -> None:
    """Bring the schema up to this program's version. InvalidInput: it was written by a newer one."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL)"
        )
        connection.execute(TABLE)
        row = connection.execute("SELECT coalesce(max(version), 0) FROM schema_migrations").fetchone()
        done = int(row[0]) if row is not None else 0
        if done > len(migrations):
            raise InvalidInput(
                f"{name} has schema version {done}, this program knows {len(migrations)}",
                hint="it was written by a newer version: run that one, or use another database",
            )
        for version, script in enumerate(migrations[done:], start=done + 1):
            connection.execute(as_postgres(script + ADDITIONS.get(version, "")))
            connection.execute(
                "INSERT INTO schema_migrations VALUES (%s, %s)", (version, datetime.now(UTC).isoformat())
            )
