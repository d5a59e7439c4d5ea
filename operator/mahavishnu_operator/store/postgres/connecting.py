"""Connections to the PostgreSQL server, with the settings that the store's promises rest on.

The pressure: a dispatcher that is stopped in the middle of a transaction holds the row that its successor needs, and
a network that swallows packets holds a thread for minutes. What must stay true: the server ends transactions of
clients that sleep in them; a dead connection is noticed within seconds; a commit is on disk when it is answered; no
password is in any message.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mahavishnu_operator.store.protocol import StoreUnavailable
from mahavishnu_operator.support.errors import InvalidInput

from .session import Connection

SLEEPING_SECONDS = 5  # a client that sleeps longer inside a transaction loses it: the longest a take-over waits
_DEFAULTS = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "target_session_attrs": "read-write",
    "application_name": "mahavishnu",
}


class Server:
    """Where the database is, as a libpq URL or key=value text."""

    def __init__(self, conninfo: str) -> None:
        try:
            given = {name: str(value) for name, value in conninfo_to_dict(conninfo).items() if value is not None}
        except psycopg.ProgrammingError:
            raise InvalidInput(
                "the address of the PostgreSQL store cannot be read",
                hint="write it as postgresql://USER@HOST:PORT/DATABASE (the password may come from PGPASSFILE)",
            ) from None
        self._conninfo = make_conninfo(**{**_DEFAULTS, **given})
        place = given.get("host") or given.get("hostaddr") or "the local socket"
        port = f":{given['port']}" if "port" in given else ""
        self.name = f"PostgreSQL at {place}{port}, database {given.get('dbname') or 'by default'}"

    def connect(self, *, read_only: bool = False) -> Connection:
        """A connection outside any transaction. psycopg.OperationalError: not now."""
        connection = psycopg.connect(self._conninfo, autocommit=True)
        try:
            connection.execute(
                "SELECT set_config('idle_in_transaction_session_timeout', %s, false),"
                " set_config('default_transaction_read_only', %s, false),"
                " set_config('synchronous_commit', CASE current_setting('synchronous_commit')"
                "   WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)",
                (str(SLEEPING_SECONDS * 1000), "on" if read_only else "off"),
            )
        except BaseException:
            connection.close()
            raise
        return connection

    @contextlib.contextmanager
    def opening(self) -> Iterator[Connection]:
        """A connection for setting up. StoreUnavailable says in words why there is none."""
        try:
            connection = self.connect()
        except psycopg.OperationalError as error:
            raise self.unavailable(error) from None
        try:
            yield connection
        finally:
            connection.close()

    def unavailable(self, error: BaseException) -> StoreUnavailable:
        """The server's or the network's words, on one line."""
        words = " ".join(str(error).split()) or type(error).__name__
        return StoreUnavailable(
            f"cannot use {self.name}: {words}",
            hint="check the server, the address, and that this user may connect; nothing was stored",
        )
