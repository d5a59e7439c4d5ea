"""Blobs as files named by their SHA-256: written whole or not at all, checked when read."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import tempfile
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from mahavishnu_operator.store.protocol import BlobDamaged, StoreFull
from mahavishnu_operator.support.errors import InvalidInput
from mahavishnu_operator.support.group_commit import Session

from .sql.database import Write
from .sql.references import is_digest

_REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
_NEW = ".new-"


class BlobFolder:
    """A folder of blobs, two hexadecimal digits a subfolder. All methods block: call them on a thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._deciding = threading.Lock()  # a blob is found and made young, or found old and deleted: never both
        for number in range(256):
            (folder / f"{number:02x}").mkdir(parents=True, exist_ok=True)
        _sync(folder)
        _sync(folder.parent)

    def put(self, data: bytes) -> str:
        """Store bytes durably (file and folder synced) and answer their digest. StoreFull: nothing was kept.

        A blob that is there becomes young again; one that is there and damaged is written anew.
        """
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        try:
            if self._renew(path) and path.read_bytes() == data:
                _sync(path.parent)  # its first writer may not have come that far
            else:
                _write(path, data)
        except OSError as error:
            if error.errno in _REFUSED:
                raise StoreFull(
                    f"cannot store a blob of {len(data)} bytes in {self._folder}: {error.strerror}",
                    hint="free space on that disk; nothing was stored",
                ) from None
            raise
        return digest

    def has(self, digest: str) -> bool:
        """Whether there is such a blob."""
        return self._path(digest).exists()

    def get(self, digest: str) -> bytes | None:
        """The bytes, None when there are none. BlobDamaged when they are not what was stored."""
        try:
            data = self._path(digest).read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.sha256(data).hexdigest() != digest:
            raise BlobDamaged(
                f"blob {digest} in {self._folder} is damaged: {len(data)} bytes with another digest",
                hint="check the disk; storing the same bytes again, or running the job again, repairs it",
            )
        return data

    def put_before(self, time: float) -> list[str]:
        """Digests of the blobs last put before that time; clears away what killed writers left half-written."""
        found = []
        for path in self._folder.glob("*/*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime >= time:
                    continue
                if is_digest(path.name):
                    found.append(path.name)
                elif path.name.startswith(_NEW):
                    path.unlink()
        return found

    def drop(self, digests: Iterable[str], *, before: float) -> None:
        """Delete those of the blobs that are there and were last put before that time."""
        for path in map(self._path, digests):
            with self._deciding, suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()

    def _renew(self, path: Path) -> bool:
        with self._deciding:
            try:
                os.utime(path)
            except FileNotFoundError:
                return False
            return True

    def _path(self, digest: str) -> Path:
        if not is_digest(digest):
            raise InvalidInput(f"{digest[:80]!r} is not a SHA-256 in lower-case hexadecimal")
        return self._folder / digest[:2] / digest


class FolderBlobs:
    """The folder as a store's blobs (store.sql.blobs): files know nothing of the transaction around them."""

    def __init__(self, folder: Path) -> None:
        self._folder = BlobFolder(folder)

    async def put(self, data: bytes, write: Write) -> str:
        """Store bytes durably and answer their digest."""
        return await asyncio.to_thread(self._folder.put, data)

    async def get(self, digest: str) -> bytes | None:
        """The bytes, checked."""
        return await asyncio.to_thread(self._folder.get, digest)

    def has(self, session: Session, digest: str) -> bool:
        """Whether there is such a blob."""
        return self._folder.has(digest)

    async def put_before(self, time: float) -> list[str]:
        """Digests of the blobs last put before that time."""
        return await asyncio.to_thread(self._folder.put_before, time)

    def drop(self, session: Session, digests: Iterable[str], *, before: float) -> None:
        """Delete those of the blobs that were last put before that time."""
        self._folder.drop(digests, before=before)


def _write(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=_NEW)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
