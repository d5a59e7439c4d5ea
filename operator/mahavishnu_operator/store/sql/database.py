"""What the SQL store needs of a database and of a place for blobs.

Two of each: a file of SQLite or a PostgreSQL server, a folder or a table.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol, TypeVar

from mahavishnu_operator.support.group_commit import Session

T = TypeVar("T")
Write = Callable[[Callable[[Session], None]], Awaitable[None]]


class Database(Protocol):
    """Works in transactions, durable when they return. Use it from one event loop."""

    async def write(self, work: Callable[[Any], T]) -> T:
        """Run `work` on a Session in a transaction that is on disk when this returns.

        Its exceptions are raised here. It may be run again when the transaction could not be committed.
        """
        ...

    async def read(self, work: Callable[[Any], T]) -> T:
        """Run `work` on a Session that sees every finished write and can write nothing."""
        ...

    async def close(self) -> None:
        """Finish what was handed in, then let go."""
        ...


class Blobs(Protocol):
    """Bytes by their SHA-256. InvalidInput: the digest is none."""

    async def put(self, data: bytes, write: Write) -> str:
        """Store bytes durably and answer their digest; a blob that is there becomes young again.

        Where blobs are rows, `write` runs the work that stores them.
        """
        ...

    async def get(self, digest: str) -> bytes | None:
        """The bytes, None when there are none. BlobDamaged when they are not what was stored."""
        ...

    def has(self, session: Session, digest: str) -> bool:
        """Whether there is such a blob. Called in a write."""
        ...

    async def put_before(self, time: float) -> list[str]:
        """Digests of the blobs last put before that time (seconds since the Unix epoch)."""
        ...

    def drop(self, session: Session, digests: Iterable[str], *, before: float) -> None:
        """Delete those of the blobs that were last put before that time. Called in a write."""
        ...
