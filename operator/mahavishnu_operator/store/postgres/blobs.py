"""Blobs as rows: for operators that share nothing but the database.

What must stay true: the digest is checked on reading, as with files; the same bytes again cost one small update.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable

from mahavishnu_operator.store.protocol import BlobDamaged
from mahavishnu_operator.store.sql.database import Database, Write
from mahavishnu_operator.store.sql.references import is_digest
from mahavishnu_operator.support.errors import InvalidInput
from mahavishnu_operator.support.group_commit import Session


class TableBlobs:
    """See store.sql.database.Blobs. `clock`: seconds since the Unix epoch."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database, self._clock = database, clock

    async def put(self, data: bytes, write: Write) -> str:
        """Store bytes and answer their digest."""
        digest, now = hashlib.sha256(data).hexdigest(), self._clock()

        def work(session: Session) -> None:
            young = session.execute(
                "UPDATE blobs SET put_at = ? WHERE sha256 = ? AND sha256(data) = decode(sha256, 'hex')", (now, digest)
            )
            if not young.rowcount:
                session.execute(
                    "INSERT INTO blobs (sha256, data, put_at) VALUES (?, ?, ?)"
                    " ON CONFLICT (sha256) DO UPDATE SET data = excluded.data, put_at = excluded.put_at",
                    (digest, data, now),
                )

        await write(work)
        return digest

    async def get(self, digest: str) -> bytes | None:
        """The bytes, None when there are none. BlobDamaged when they are not what was stored."""
        if not is_digest(digest):
            raise InvalidInput(f"{digest[:80]!r} is not a SHA-256 in lower-case hexadecimal")
        sql = "SELECT data FROM blobs WHERE sha256 = ?"
        row = await self._database.read(lambda session: session.execute(sql, (digest,)).fetchone())
        if row is None:
            return None
        data = bytes(row[0])
        if hashlib.sha256(data).hexdigest() != digest:
            raise BlobDamaged(
                f"blob {digest} in the database is damaged: {len(data)} bytes with another digest",
                hint="check the server's disk; storing the same bytes again, or running the job again, repairs it",
            )
        return data

    def has(self, session: Session, digest: str) -> bool:
        """Whether there is such a blob."""
        return session.execute("SELECT 1 FROM blobs WHERE sha256 = ?", (digest,)).fetchone() is not None

    async def put_before(self, time: float) -> list[str]:
        """Digests of the blobs last put before that time."""
        sql = "SELECT sha256 FROM blobs WHERE put_at < ?"
        rows = await self._database.read(lambda session: session.execute(sql, (time,)).fetchall())
        return [digest for (digest,) in rows]

    def drop(self, session: Session, digests: Iterable[str], *, before: float) -> None:
        """Delete those of the blobs that were last put before that time."""
        session.executemany("DELETE FROM blobs WHERE sha256 = ? AND put_at < ?", [(d, before) for d in digests])
