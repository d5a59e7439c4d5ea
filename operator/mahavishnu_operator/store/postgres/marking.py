"""The mark that each transaction of a writer leaves, by which it is found again when its commit was not answered.

The pressure: a server that is killed may forget a transaction together with its number, and give that number to
another; whoever asks by the number is then told of a stranger's commit. What must stay true: a mark is in the
transaction that it tells of, is used once, and stands in a row of this writer alone, so that no other writer waits.
"""

from __future__ import annotations

import uuid

from psycopg import errors

from .session import Connection

TABLE = """
CREATE TABLE IF NOT EXISTS last_writes (
    writer TEXT PRIMARY KEY, mark TEXT NOT NULL, written_at TIMESTAMPTZ NOT NULL DEFAULT now()
)
"""
_KEPT_DAYS = 30  # of writers that were killed
_WAIT = "1s"  # for a commit that is still under way


class Marks:
    """Of one writer, whose transactions come one after another. It is made on an open connection."""

    def __init__(self, connection: Connection) -> None:
        self._writer, self._mark = uuid.uuid4().hex, ""
        with connection.transaction():
            old = "DELETE FROM last_writes WHERE written_at < now() - make_interval(days => %s)"
            connection.execute(old, (_KEPT_DAYS,))
            connection.execute("INSERT INTO last_writes (writer, mark) VALUES (%s, '')", (self._writer,))

    def set(self, connection: Connection) -> bool:
        """Mark the transaction that is open. False: it has written nothing, and needs none."""
        self._mark = uuid.uuid4().hex
        done = connection.execute(
            "UPDATE last_writes SET mark = %s, written_at = now()"
            " WHERE writer = %s AND pg_current_xact_id_if_assigned() IS NOT NULL",
            (self._mark, self._writer),
        )
        return done.rowcount > 0

    def stands(self, connection: Connection) -> bool:
        """Whether the transaction that was marked last is committed. OperationalError: nobody can say yet."""
        connection.execute("SELECT set_config('lock_timeout', %s, false)", (_WAIT,))
        mine = "SELECT mark FROM last_writes WHERE writer = %s FOR UPDATE"
        row = connection.execute(mine, (self._writer,)).fetchone()
        if row is None:
            raise errors.OperationalError("the mark of this writer is gone")
        return bool(row[0] == self._mark)
