"""SQLite for an asyncio program: one writer thread, many callers a commit, reads beside it.

The pressure: a write is only done when it is on disk (synchronous=FULL, one fsync a commit), see support.group_commit;
each caller's work has a savepoint of its own. What must stay true: an exception undoes that caller's work alone; one
process writes a file (a lock file says which).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from .errors import Conflict, InvalidInput, MahavishnuError
from .group_commit import DatabaseFull, GroupWriter, Work

T = TypeVar("T")

BUSY_SECONDS = 5.0
READERS = 2


class Database:
    """One SQLite file. Migrations run forward only, at opening; a file of a newer version is refused.

    Opening raises Conflict (another process has it), InvalidInput (a newer version, or no SQLite file)
    and MahavishnuError (the folder cannot be used). Use it from one event loop.
    """

    def __init__(self, path: Path, migrations: Sequence[str]) -> None:
        self._path = path
        self._lock_fd = _lock(path)
        try:
            self._writer = _open(path, migrations)
        except BaseException:
            os.close(self._lock_fd)
            raise
        self._closed = False
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix=f"{path.name}-reader")
        self._reading = threading.local()
        self._read_connections: list[sqlite3.Connection] = []
        self._writing = GroupWriter(self._commit_group, name=path.name)

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a transaction that is on disk when this returns. Its exceptions are raised here.

        DatabaseFull: the disk refused; Conflict: another process holds the file. In both cases nothing
        of `work` was stored. `work` runs on the writer's thread and must not end the transaction (no
        executescript). A caller that is cancelled while it waits does not undo its work.
        """
        self._check_open()
        return await self._writing.write(work)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on a read-only connection that sees every finished write."""
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._run_read, work)

    async def close(self) -> None:
        """Finish what was handed in, then release threads, connections and the lock."""
        if self._closed:
            return
        self._closed = True
        self._writing.end()
        await asyncio.to_thread(self._release)  # one thread does it all: a cancelled caller leaves nothing open

    def _release(self) -> None:
        self._writing.join()
        self._readers.shutdown()
        for connection in [*self._read_connections, self._writer]:
            connection.close()
        os.close(self._lock_fd)

    def _check_open(self) -> None:
        if self._closed:
            raise MahavishnuError(f"{self._path} is closed", reason="Closed")

    def _run_read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection: sqlite3.Connection | None = getattr(self._reading, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS
            )
            _configure(connection, self._path)
            connection.execute("PRAGMA query_only = ON")
            self._reading.connection = connection
            self._read_connections.append(connection)
        return work(connection)

    def _commit_group(self, group: list[Work]) -> None:
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            for item in group:
                self._run_in_savepoint(item)
            self._writer.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 (every caller of the group is told)
            with suppress(sqlite3.Error):  # the callers get the first error, which says more
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
            for item in group:
                item.error = item.error or _in_words(error, self._path)

    def _run_in_savepoint(self, item: Work) -> None:
        self._writer.execute("SAVEPOINT work")
        try:
            item.value = item.run(self._writer)
        except BaseException as error:
            if not self._writer.in_transaction:  # a full disk rolls the whole transaction back by itself
                raise
            self._writer.execute("ROLLBACK TO work")
            item.error = _in_words(error, self._path)
        self._writer.execute("RELEASE work")


def _in_words(error: BaseException, path: Path) -> BaseException:
    if not isinstance(error, sqlite3.OperationalError):
        return error
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return DatabaseFull(f"cannot write {path}: {error}", hint="free space on that disk; nothing was stored")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return Conflict(f"cannot write {path}: another process holds it", hint="stop the other process")
    return error


def _lock(path: Path) -> int:
    lock = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise MahavishnuError(
            f"cannot keep data in {path.parent}: {error.strerror}",
            hint="name a folder on a local disk that this user may write",
            reason="StoreUnavailable",
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise Conflict(
            f"{path} is in use by process {holder}", hint="stop that process, or use another data folder"
        ) from None
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    except OSError as error:
        os.close(descriptor)
        raise DatabaseFull(
            f"cannot write {lock}: {error.strerror}", hint="free space on that disk; nothing was stored"
        ) from None
    return descriptor


def _open(path: Path, migrations: Sequence[str]) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS)
    try:
        _configure(connection, path)
        _migrate(connection, migrations, path)
    except sqlite3.DatabaseError as error:
        connection.close()
        if getattr(error, "sqlite_errorname", "") == "SQLITE_NOTADB":
            raise InvalidInput(f"{path} is not an SQLite file", hint="move it away, or use another folder") from None
        raise _in_words(error, path) from None
    except BaseException:
        connection.close()
        raise
    return connection


def _configure(connection: sqlite3.Connection, path: Path) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise InvalidInput(f"{path} cannot use a write-ahead log here", hint="use a folder on a local disk")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _migrate(connection: sqlite3.Connection, migrations: Sequence[str], path: Path) -> None:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migrations (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL)"
    )
    (done,) = connection.execute("SELECT coalesce(max(version), 0) FROM schema_migrations").fetchone()
    if done > len(migrations):
        raise InvalidInput(
            f"{path} has schema version {done}, this program knows {len(migrations)}",
            hint="it was written by a newer version: run that one, or use another data folder",
        )
    for version, script in enumerate(migrations[done:], start=done + 1):
        connection.executescript(  # the only interpolated values are our own script and an int
            f"BEGIN IMMEDIATE;\n{script}\n;INSERT INTO schema_migrations VALUES ({version}, datetime('now'));\nCOMMIT;"  # noqa: S608
        )
