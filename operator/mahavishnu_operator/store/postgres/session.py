"""A psycopg connection as the session that the store's SQL is written for.

What must stay true: the SQL itself is the same for both databases; only its placeholders are rewritten.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, LiteralString

import psycopg

from mahavishnu_operator.support.group_commit import Rows

Connection = psycopg.Connection[tuple[Any, ...]]


@lru_cache(maxsize=256)
def with_placeholders(sql: str) -> LiteralString:
    """The statement with `%s` for `?`. None of ours has a question mark or a percent sign in a string."""
    return sql.replace("?", "%s")


def as_postgres(script: str) -> LiteralString:
    """A migration in PostgreSQL's words: bytes are BYTEA, and text is compared byte by byte, as SQLite does."""
    return re.sub(r"\bTEXT\b", 'TEXT COLLATE "C"', re.sub(r"\bBLOB\b", "BYTEA", script))


class PostgresSession:
    """See support.group_commit.Session."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Rows:
        """Run one statement."""
        return self._connection.execute(with_placeholders(sql), parameters)

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Rows:
        """Run one statement for each row of parameters, without waiting for the answer of each."""
        rows = list(parameters)
        if not rows:
            return _Nothing()
        cursor = self._connection.cursor()
        cursor.executemany(with_placeholders(sql), rows)
        return cursor


class _Nothing:
    """The answer to no statement at all."""

    rowcount = 0

    def fetchone(self) -> None:
        """No row."""

    def fetchall(self) -> list[Any]:
        """No rows."""
        return []

    def __iter__(self) -> Iterator[Any]:
        return iter(())
