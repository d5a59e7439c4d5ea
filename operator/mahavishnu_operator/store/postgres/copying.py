"""Filling an empty database from another store, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from psycopg import sql

from mahavishnu_operator.store.schema import MIGRATIONS, TABLES
from mahavishnu_operator.support.errors import InvalidInput

from .connecting import Server
from .migrating import migrate

BLOB_COLUMNS = ("sha256", "data", "put_at")


def fill(
    url: str,
    read: Callable[[str], tuple[Sequence[str], Iterable[tuple[Any, ...]]]],
    blobs: Iterable[tuple[str, bytes, float]],
) -> dict[str, int]:
    """Write every table and all blobs; rows by table. InvalidInput, and nothing is written: it holds something.

    `read` answers a table's columns and rows.
    """
    server = Server(url)
    with server.opening() as connection:
        migrate(connection, MIGRATIONS, name=server.name)
        copied: dict[str, int] = {}
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute("LOCK TABLE epoch IN EXCLUSIVE MODE")
            for table in (*TABLES, "blobs"):
                query = sql.SQL("SELECT EXISTS (SELECT 1 FROM {})").format(sql.Identifier(table))
                if table != "epoch" and cursor.execute(query).fetchone() == (True,):
                    raise InvalidInput(
                        f"{server.name} is not empty: it has rows in {table}", hint="name a new database"
                    )
            cursor.execute("DELETE FROM epoch")
            for table in TABLES:
                copied[table] = _copy(cursor, table, *read(table))
            copied["blobs"] = _copy(cursor, "blobs", BLOB_COLUMNS, blobs)
        return copied


def _copy(cursor: Any, table: str, columns: Iterable[str], rows: Iterable[tuple[Any, ...]]) -> int:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    count = 0
    with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), names)) as copy:
        for row in rows:
            copy.write_row(row)
            count += 1
    return count
