"""PostgreSQL as the store's database: one writer, group commit, and answers that survive a restart of the server.

The pressure: a server is restarted, fails over, or a connection is cut while a transaction is under way, and a caller
must then be told the truth: stored, not stored, or that nobody knows. What must stay true: a group whose connection
was lost before its commit was sent is run again; one whose commit was sent is asked for by the mark that it left
(marking.py) before anything else happens; who waits longer than PATIENCE_SECONDS is told NotStored, or OutcomeUnknown
where even that is not known.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import psycopg
import structlog
from psycopg import errors

from mahavishnu_operator.store.protocol import OutcomeUnknown
from mahavishnu_operator.support.errors import MahavishnuError
from mahavishnu_operator.support.group_commit import DatabaseFull, GroupWriter, Session, Work

from .connecting import Server
from .marking import Marks
from .migrating import migrate
from .session import Connection, PostgresSession

log = structlog.get_logger(__name__)
T = TypeVar("T")

PATIENCE_SECONDS = 30.0  # how long a write waits for the server to come back: longer than a restart takes
READERS = 2
_LOST = (psycopg.OperationalError, psycopg.InterfaceError, errors.IdleInTransactionSessionTimeout)
_AGAIN = (errors.DeadlockDetected, errors.SerializationFailure)


class _InDoubt(Exception):
    """The commit was sent and not answered."""


class PostgresDatabase:
    """See store.sql.database.Database. Opening raises StoreUnavailable, or InvalidInput for a newer schema."""

    def __init__(self, server: Server, migrations: Sequence[str], *, patience: float = PATIENCE_SECONDS) -> None:
        self._server, self._patience = server, patience
        with server.opening() as connection:
            migrate(connection, migrations, name=server.name)
            self._marks = Marks(connection)
        self._closing = threading.Event()
        self._connection: Connection | None = None
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="postgres-reader")
        self._reading = threading.local()
        self._read_connections: list[Connection] = []
        self._writing = GroupWriter(self._commit_group, name="postgres")

    async def write(self, work: Callable[[Session], T]) -> T:
        """Run `work` in a transaction that is durable when this returns; it may be run more than once."""
        self._check_open()
        return await self._writing.write(work)

    async def read(self, work: Callable[[Session], T]) -> T:
        """Run `work` on a read-only connection that sees every finished write."""
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._run_read, work)

    async def close(self) -> None:
        """Finish what was handed in (what cannot be finished at once is told so), then let go."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._writing.end()
        await asyncio.to_thread(self._release)

    def _release(self) -> None:
        self._writing.join()
        self._readers.shutdown()
        for connection in [*self._read_connections, *([self._connection] if self._connection else [])]:
            connection.close()

    def _check_open(self) -> None:
        if self._closing.is_set():
            raise MahavishnuError(f"{self._server.name} is closed", reason="Closed")

    # --- reading -----------------------------------------------------------------------------------

    def _run_read(self, work: Callable[[Session], T]) -> T:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                with self._reader().transaction():  # one snapshot for all that the work reads
                    return work(PostgresSession(self._reader()))
            except _LOST as error:
                self._wait_for_server(error, deadline)

    def _reader(self) -> Connection:
        connection: Connection | None = getattr(self._reading, "connection", None)
        if connection is None or connection.closed:
            if connection is not None:
                self._read_connections.remove(connection)
                self._reading.connection = None
            connection = self._server.connect(read_only=True)
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            self._reading.connection = connection
            self._read_connections.append(connection)
        return connection

    # --- writing -----------------------------------------------------------------------------------

    def _commit_group(self, group: list[Work]) -> None:
        deadline = time.monotonic() + self._patience
        try:
            while not self._try_group(group, deadline):
                for item in group:
                    item.value = item.error = None
        except BaseException as error:  # noqa: BLE001 (every caller of the group is told)
            for item in group:
                item.value, item.error = None, error

    def _try_group(self, group: list[Work], deadline: float) -> bool:
        """Whether the group is committed; False: it is not, and is to be run again."""
        try:
            self._run_group(group)
        except _InDoubt:
            return self._was_committed(deadline)
        except _AGAIN as error:
            self._wait_for_server(error, deadline)
            return False
        except errors.DiskFull as error:
            raise DatabaseFull(f"{self._server.name} is out of space: {error}", hint="free space there") from None
        except _LOST as error:
            self._wait_for_server(error, deadline)
            return False
        return True

    def _run_group(self, group: list[Work]) -> None:
        if self._connection is None or self._connection.closed:
            self._connection = self._server.connect()
        connection = self._connection
        try:
            connection.execute("BEGIN")
            for item in group:
                self._run_in_savepoint(connection, item)
            wrote = self._marks.set(connection)
        except BaseException:
            _roll_back(connection)
            raise
        try:
            connection.execute("COMMIT")
        except _LOST as error:
            if not wrote or not connection.closed:  # nothing was written, or the server itself said no
                raise
            raise _InDoubt from error

    def _run_in_savepoint(self, connection: Connection, item: Work) -> None:
        connection.execute("SAVEPOINT work")
        try:
            item.value = item.run(PostgresSession(connection))
        except BaseException as error:
            if connection.closed or isinstance(error, (*_LOST, *_AGAIN, errors.DiskFull)):
                raise  # it is about the transaction, not about this caller
            connection.execute("ROLLBACK TO SAVEPOINT work")
            item.error = error
        connection.execute("RELEASE SAVEPOINT work")

    def _was_committed(self, deadline: float) -> bool:
        """Whether the last transaction was, once the server can say."""
        while True:
            try:
                with self._server.connect() as connection:
                    committed = self._marks.stands(connection)
                log.warning("a commit was not answered; the server says", committed=committed)
                return committed
            except _LOST as lost:  # or it is still under way
                error = lost
            if time.monotonic() >= deadline or self._closing.is_set():
                raise OutcomeUnknown(
                    f"{self._server.name} went away while it committed, and cannot say whether it did: {error}",
                    hint="start this process again once the server is there: it reads what was stored",
                )
            self._closing.wait(0.2)

    def _wait_for_server(self, error: BaseException, deadline: float) -> None:
        """Wait a little; StoreUnavailable when the time is over or the store is being closed."""
        if time.monotonic() >= deadline or self._closing.is_set():
            raise self._server.unavailable(error) from error
        log.warning("the store's server does not answer; tried again", server=self._server.name, error=str(error))
        self._closing.wait(0.2)


def _roll_back(connection: Connection) -> None:
    try:
        if not connection.closed:
            connection.execute("ROLLBACK")
    except psycopg.Error as error:  # the error that brought us here says more
        log.debug("the connection was lost before a rollback", error=str(error))
        connection.close()
