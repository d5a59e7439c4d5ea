"""The rows of a store, read from outside while its owner works or after it has gone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from .audit import Query


def sqlite_query(file: Path) -> Query:
    """Read an SQLite file, each time on a connection of its own."""

    def query(sql: str) -> Iterable[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(sql).fetchall()

    return query


def postgres_query(url: str) -> Query:
    """Read a PostgreSQL database, each time on a connection of its own."""

    def query(sql: str) -> Iterable[tuple[Any, ...]]:
        with psycopg.connect(url, autocommit=True) as connection:
            return connection.execute(sql.encode()).fetchall()

    return query
