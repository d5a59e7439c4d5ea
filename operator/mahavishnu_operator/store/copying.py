"""Copies of a store: a SQLite folder into a PostgreSQL database, and a backup of a folder that is in use.

What must stay true: the target is empty before and complete after, or untouched; the source is only read; the epoch
goes along, so that a dispatcher of the old store could not write into the new one.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from mahavishnu_operator.support.database import Database
from mahavishnu_operator.support.errors import Conflict, InvalidInput, NotFound
from mahavishnu_operator.support.text import storable

from .schema import MIGRATIONS
from .sql.references import is_digest

ENGINE_FILE, OBJECTS_FILE, BLOBS = "engine.db", "objects.db", "blobs"


async def migrate_to_postgres(folder: Path, url: str, *, blob_folder: Path | None = None) -> dict[str, int]:
    """Copy all of a SQLite store into an empty database, in one transaction; rows by table.

    `blob_folder` None: blobs become rows, counted as `blobs`; else they are copied there. Conflict: a process uses the
    source. InvalidInput: there is no store in `folder`, or the target is not empty.
    """
    from .postgres.copying import fill  # psycopg is loaded where a database is used

    if not (folder / ENGINE_FILE).is_file():
        raise InvalidInput(f"there is no store in {folder}", hint="name the folder that --data named")
    source = Database(folder / ENGINE_FILE, MIGRATIONS)  # holds the lock, and brings it up to this version
    try:
        if blob_folder is not None:
            copy_blobs(folder / BLOBS, blob_folder)
        blobs = _blobs(folder / BLOBS) if blob_folder is None else iter(())
        return await source.read(lambda session: fill(url, lambda table: _read(session, table), blobs))
    finally:
        await source.close()


def _read(connection: sqlite3.Connection, table: str) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
    """The columns of a table, and its rows."""
    cursor = connection.execute(f"SELECT * FROM {table}")  # noqa: S608 (a name of ours)
    rows = (tuple(storable(each) if isinstance(each, str) else each for each in row) for row in cursor)
    return [column[0] for column in cursor.description], rows


def _blobs(folder: Path) -> Iterator[tuple[str, bytes, float]]:
    for path in sorted(folder.glob("*/*")):
        if is_digest(path.name):
            yield path.name, path.read_bytes(), path.stat().st_mtime


def copy_blobs(source: Path, target: Path) -> int:
    """Copy blobs that are not there yet, each whole or not at all; how many."""
    copied = 0
    for path in sorted(source.glob("*/*")):
        there = target / path.parent.name / path.name
        if not is_digest(path.name) or there.exists():
            continue
        there.parent.mkdir(parents=True, exist_ok=True)
        new = there.with_name(f".new-{path.name}")
        shutil.copy2(path, new)
        os.replace(new, there)
        copied += 1
    return copied


def back_up(folder: Path, target: Path) -> dict[str, int]:
    """Copy a data folder that may be in use to a new folder: bytes by file, and how many blobs.

    The databases are copied as of one moment each, the engine's first, then the blobs that it names. Conflict: the
    target exists. NotFound: there is no store in `folder`.
    """
    if not (folder / ENGINE_FILE).is_file():
        raise NotFound(f"there is no store in {folder}", hint="name the folder that --data named")
    try:
        target.mkdir(parents=True, mode=0o700)
    except FileExistsError:
        raise Conflict(f"{target} exists already", hint="name a folder that does not exist yet") from None
    copied: dict[str, int] = {}
    for name in (OBJECTS_FILE, ENGINE_FILE):  # objects first: a job that is only in the engine's file is forgotten
        if (folder / name).is_file():
            with closing(sqlite3.connect(f"file:{folder / name}?mode=ro", uri=True)) as source:
                source.execute("VACUUM INTO ?", (str(target / name),))
            copied[name] = (target / name).stat().st_size
    copied[BLOBS] = copy_blobs(folder / BLOBS, target / BLOBS)
    return copied
