from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mahavishnu_operator.support.database import Database
from mahavishnu_operator.support.errors import Conflict, InvalidInput, MahavishnuError
from mahavishnu_operator.support.group_commit import DatabaseFull

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


async def test_a_commit_waits_for_the_disk(database: Database) -> None:
    def settings(connection: sqlite3.Connection) -> list[object]:
        return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]

    full = 2  # SQLite's number for synchronous=FULL
    assert await database.write(settings) == ["wal", full]


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


async def test_a_file_that_is_no_database_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"a letter, not a database" * 100)
    with pytest.raises(InvalidInput, match="not an SQLite file"):
        Database(tmp_path / "x.db", [FIRST])


async def test_a_folder_that_cannot_be_made_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MahavishnuError, match="cannot keep data in"):
        Database(tmp_path / "file" / "x.db", [FIRST])


async def test_an_open_file_is_refused_with_the_holders_pid_and_free_after_close(tmp_path: Path) -> None:
    first = Database(tmp_path / "x.db", [FIRST])
    with pytest.raises(Conflict, match=f"in use by process {os.getpid()}"):
        Database(tmp_path / "x.db", [FIRST])
    await first.close()
    await Database(tmp_path / "x.db", [FIRST]).close()


async def test_a_refused_file_is_not_left_locked(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"a letter, not a database" * 100)
    with pytest.raises(InvalidInput):
        Database(tmp_path / "x.db", [FIRST])
    (tmp_path / "x.db").unlink()
    await Database(tmp_path / "x.db", [FIRST]).close()


async def test_a_commit_that_fails_fails_every_work_of_its_group(tmp_path: Path) -> None:
    schema = FIRST + "CREATE TABLE u (a INTEGER REFERENCES t (a) DEFERRABLE INITIALLY DEFERRED);"
    database = Database(tmp_path / "x.db", [schema])
    begun, go_on = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        begun.set()
        assert go_on.wait(10)

    try:
        holding = asyncio.ensure_future(database.write(hold))
        await asyncio.to_thread(begun.wait, 10)
        group = [
            asyncio.ensure_future(database.write(lambda c: c.execute("INSERT INTO t (b) VALUES ('innocent')"))),
            asyncio.ensure_future(database.write(lambda c: c.execute("INSERT INTO u VALUES (99)"))),
        ]
        await asyncio.sleep(0)  # both are queued behind the held commit, and so share the next one
        go_on.set()
        await holding
        answers = await asyncio.gather(*group, return_exceptions=True)
        assert [type(answer) for answer in answers] == [sqlite3.IntegrityError] * 2
        assert await rows(database) == []
        await database.write(lambda c: c.execute("INSERT INTO t (b) VALUES ('later')"))
        assert await rows(database) == ["later"]
    finally:
        await database.close()


async def test_the_event_loop_goes_on_while_a_work_runs(database: Database) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(_: sqlite3.Connection) -> str:
        begun.set()
        return "done" if go_on.wait(10) else "the event loop was blocked"

    writing = asyncio.ensure_future(database.write(slow))
    assert await asyncio.to_thread(begun.wait, 10)
    assert not writing.done()
    go_on.set()  # reached only because this coroutine was not blocked
    assert await writing == "done"


async def test_closing_finishes_what_was_handed_in(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.db", [FIRST])
    insert = "INSERT INTO t (b) VALUES ('x')"
    waiting = [asyncio.ensure_future(database.write(lambda c: c.execute(insert))) for _ in range(100)]
    await asyncio.sleep(0)
    await database.close()
    await asyncio.gather(*waiting)
    again = Database(tmp_path / "x.db", [FIRST])
    assert len(await rows(again)) == 100
    await again.close()


async def test_a_closed_database_says_so(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.db", [FIRST])
    await database.close()
    await database.close()
    with pytest.raises(MahavishnuError, match="is closed"):
        await database.write(lambda c: None)
    with pytest.raises(MahavishnuError, match="is closed"):
        await database.read(lambda c: None)


async def test_a_caller_that_gives_up_leaves_the_others_answered(database: Database) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        begun.set()
        assert go_on.wait(10)

    impatient = asyncio.ensure_future(database.write(hold))
    await asyncio.to_thread(begun.wait, 10)
    impatient.cancel()
    go_on.set()
    await database.write(lambda c: c.execute("INSERT INTO t (b) VALUES ('x')"))
    with pytest.raises(asyncio.CancelledError):
        await impatient
    assert await rows(database) == ["x"]


async def test_a_work_that_ends_with_stop_iteration_fails_alone(database: Database) -> None:
    good = database.write(lambda c: c.execute("INSERT INTO t (b) VALUES ('good')"))
    bad = database.write(lambda c: next(iter(())))
    answers = await asyncio.gather(bad, good, return_exceptions=True)
    assert isinstance(answers[0], RuntimeError)
    assert await rows(database) == ["good"]
