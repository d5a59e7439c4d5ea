from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mahavishnu_operator.support.database import Database, DatabaseFull
from mahavishnu_operator.support.errors import InvalidInput

FIRST = "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT);"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(tmp_path / "x.db", [FIRST])
    yield opened
    await opened.close()


async def rows(database: Database) -> list[str]:
    return await database.read(lambda c: [b for (b,) in c.execute("SELECT b FROM t ORDER BY a")])


async def test_a_write_is_seen_by_the_next_read(database: Database) -> None:
    await database.write(lambda c: c.execute("INSERT INTO t (b) VALUES ('x')"))
    assert await rows(database) == ["x"]


async def test_many_writers_share_commits_and_lose_nothing(database: Database) -> None:
    def one(number: int) -> asyncio.Future[object]:
        work = lambda c: c.execute("INSERT INTO t (b) VALUES (?)", (str(number),))  # noqa: E731
        return asyncio.ensure_future(database.write(work))

    await asyncio.gather(*(one(number) for number in range(1000)))
    assert sorted(map(int, await rows(database))) == list(range(1000))


async def test_a_failing_work_is_undone_alone(database: Database) -> None:
    def fails(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t (b) VALUES ('bad')")
        raise ValueError("on purpose")

    good = database.write(lambda c: c.execute("INSERT INTO t (b) VALUES ('good')"))
    results = await asyncio.gather(database.write(fails), good, return_exceptions=True)
    assert isinstance(results[0], ValueError)
    assert await rows(database) == ["good"]


async def test_a_full_disk_is_said_in_words_and_stores_nothing(database: Database) -> None:
    def fill(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t (b) VALUES (?)", ("x" * 10_000_000,))

    await database.write(lambda c: c.execute("PRAGMA max_page_count = 100").fetchone())
    with pytest.raises(DatabaseFull, match="free space"):
        await database.write(fill)
    await database.write(lambda c: c.execute("INSERT INTO t (b) VALUES ('small')"))
    assert await rows(database) == ["small"]


async def test_reads_cannot_write(database: Database) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await database.read(lambda c: c.execute("DELETE FROM t"))


async def test_an_older_file_is_migrated_with_its_rows(tmp_path: Path) -> None:
    old = Database(tmp_path / "x.db", [FIRST])
    await old.write(lambda c: c.execute("INSERT INTO t (b) VALUES ('kept')"))
    await old.close()
    new = Database(tmp_path / "x.db", [FIRST, "ALTER TABLE t ADD COLUMN c TEXT NOT NULL DEFAULT 'new';"])
    try:
        assert await new.read(lambda c: c.execute("SELECT b, c FROM t").fetchall()) == [("kept", "new")]
    finally:
        await new.close()


async def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    await Database(tmp_path / "x.db", [FIRST]).close()
    with pytest.raises(sqlite3.OperationalError):
        Database(tmp_path / "x.db", [FIRST, "CREATE TABLE u (a TEXT); nonsense;"])
    again = Database(tmp_path / "x.db", [FIRST])
    try:
        tables = await again.read(lambda c: c.execute("SELECT name FROM sqlite_master WHERE name = 'u'").fetchall())
    finally:
        await again.close()
    assert tables == []


async def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    await Database(tmp_path / "x.db", [FIRST, "CREATE TABLE u (a TEXT);"]).close()
    with pytest.raises(InvalidInput, match="schema version 2, this program knows 1"):
        Database(tmp_path / "x.db", [FIRST])
