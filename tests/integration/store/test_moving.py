"""`mahavishnu store migrate` and `backup`, and PostgreSQL's own programs as docs/store.md types them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from mahavishnu_operator.api.reasons import FailureClass
from mahavishnu_operator.store.postgres import PostgresStore
from mahavishnu_operator.store.records import AttemptEnd, MemoryKey, OutputPiece, ReportRecord, TokenRecord
from mahavishnu_operator.store.schema import MIGRATIONS, TABLES
from mahavishnu_operator.store.sqlite import SqliteStore
from tests.integration.cli_tools import run
from tests.postgres.server import PostgresServer
from tests.unit.store.conftest import Holder, key

MEMORY = MemoryKey("pool", "ruff", "1", "c", "e", "a.py", "blob")


async def fill(held: Holder) -> str:
    """A row in every table, and a blob; its digest."""
    await held.add("t0", "t1", "t2")
    await held.grant("t0", "t1")
    await held.deliver("t0")
    lost = AttemptEnd(key("t1"), 1, FailureClass.TOOL, "Crashed", "said \x00", False, 3.0)
    await held.store.end_attempts(held.epoch, [lost])
    await held.store.append_output(held.epoch, [OutputPiece(key(), 1, "stdout", 0, b"\x00out\xff")])
    digest = await held.store.put_blob(held.epoch, b"\x00report", job="u1")
    await held.store.put_report(held.epoch, ReportRecord("u1", digest, 7, False, b"{}", 1.0))
    await held.store.remember(held.epoch, [MEMORY], at=5.0)
    await held.store.put_token(held.epoch, TokenRecord("0" * 64, "ns/pool", "w", 1.0))
    return digest


async def all_of(held: Holder, digest: str) -> tuple[object, ...]:
    store = held.store
    return (
        await store.tasks("u1"),
        await store.results("u1"),
        await store.open_jobs(),
        await store.known_jobs(),
        await store.open_grants(),
        await store.output(key(), attempt=1),
        await store.report("u1"),
        await store.blob(digest),
        await store.recall([MEMORY], since=5.0),
        await store.find_token("0" * 64),
    )


@pytest.mark.parametrize("files", [False, True], ids=["blobs as rows", "blobs as files"])
async def test_a_moved_store_answers_as_before(tmp_path: Path, database: str, files: bool) -> None:
    held = await Holder.open(lambda clock: SqliteStore(tmp_path / "data", clock=clock))
    digest = await fill(held)
    before = await all_of(held, digest)
    await held.store.close()
    folder = tmp_path / "blobs" if files else None
    more = ("--blob-dir", folder) if folder else ()
    done = run("store", "migrate", "--data", tmp_path / "data", "--to", database, *more)
    assert done.returncode == 0, done.stderr
    moved = await Holder.open(lambda clock: PostgresStore(database, blob_folder=folder, clock=clock))
    assert await all_of(moved, digest) == before
    assert moved.epoch == held.epoch + 1
    await moved.store.close()


async def test_a_database_that_holds_something_is_refused_and_left_alone(tmp_path: Path, database: str) -> None:
    held = await Holder.open(lambda clock: SqliteStore(tmp_path / "data", clock=clock))
    await held.add("t0")
    await held.store.close()
    first = run("store", "migrate", "--data", tmp_path / "data", "--to", database)
    again = run("store", "migrate", "--data", tmp_path / "data", "--to", database)
    assert (first.returncode, again.returncode) == (0, 2)
    assert "is not empty" in again.stderr
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM tasks").fetchone() == (1,)


async def test_a_store_in_use_is_not_moved(tmp_path: Path, database: str) -> None:
    held = await Holder.open(lambda clock: SqliteStore(tmp_path / "data", clock=clock))
    done = run("store", "migrate", "--data", tmp_path / "data", "--to", database)
    await held.store.close()
    assert done.returncode == 1
    assert "in use by process" in done.stderr


def test_a_folder_without_a_store_is_bad_input(tmp_path: Path, database: str) -> None:
    done = run("store", "migrate", "--data", tmp_path, "--to", database)
    assert done.returncode == 2
    assert "there is no store" in done.stderr


async def test_a_backup_of_a_folder_in_use_opens_with_all_that_was_stored(tmp_path: Path) -> None:
    held = await Holder.open(lambda clock: SqliteStore(tmp_path / "data", clock=clock))
    digest = await fill(held)
    before = await all_of(held, digest)
    done = run("store", "backup", "--data", tmp_path / "data", tmp_path / "copy")
    await held.add("t9")
    await held.store.close()
    assert done.returncode == 0, done.stderr
    restored = await Holder.open(lambda clock: SqliteStore(tmp_path / "copy", clock=clock))
    assert await all_of(restored, digest) == before
    await restored.store.close()


def test_a_backup_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "engine.db").touch()
    done = run("store", "backup", "--data", tmp_path, tmp_path)
    assert done.returncode == 1
    assert "exists already" in done.stderr


async def test_a_dump_is_restored_with_postgresqls_own_programs(
    tmp_path: Path, postgres: PostgresServer, database: str
) -> None:
    held = await Holder.open(lambda clock: PostgresStore(database, clock=clock))
    digest = await fill(held)
    before = await all_of(held, digest)
    postgres.run("pg_dump", "--format=custom", f"--file={tmp_path / 'store.dump'}", database)
    await held.store.close()
    target = postgres.make_database()
    postgres.run("pg_restore", "--no-owner", "--exit-on-error", f"--dbname={target}", str(tmp_path / "store.dump"))
    restored = await Holder.open(lambda clock: PostgresStore(target, clock=clock))
    assert await all_of(restored, digest) == before
    await restored.store.close()


def test_the_tables_that_are_moved_are_all_there_are() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        for script in MIGRATIONS:
            connection.executescript(script)
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert names == set(TABLES)
