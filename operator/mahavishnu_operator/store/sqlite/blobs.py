"""Blobs as files named by their SHA-256: written whole or not at all, checked when read."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mahavishnu_operator.store.protocol import StoreFull
from mahavishnu_operator.support.errors import InvalidInput, MahavishnuError

YOUNG_SECONDS = 3600.0  # a blob this young may be about to be named by a result that is still on its way
_DIGEST = re.compile(r"[0-9a-f]{64}")


class BlobDamaged(MahavishnuError):
    """The file does not hold the bytes that its name says."""

    reason = "BlobDamaged"


class BlobFolder:
    """A folder of blobs, two hexadecimal digits a subfolder. All methods block: call them on a thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> str:
        """Store bytes durably (file and folder synced) and answer their digest. StoreFull: nothing was kept."""
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        if path.exists():
            os.utime(path)  # young again: whoever put it anew is about to name it
            return digest
        try:
            path.parent.mkdir(exist_ok=True)
            self._write(path, data)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise StoreFull(
                    f"cannot store a blob of {len(data)} bytes: {error.strerror}", hint="free space"
                ) from None
            raise
        return digest

    def get(self, digest: str) -> bytes | None:
        """The bytes, None when there are none. BlobDamaged when they are not what was stored."""
        try:
            data = self._path(digest).read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.sha256(data).hexdigest() != digest:
            raise BlobDamaged(
                f"blob {digest} is damaged: {len(data)} bytes with another digest",
                hint="check the disk; delete the file and run the job again",
            )
        return data

    def drop(self, digests: Sequence[str]) -> None:
        """Delete those of the blobs that are there and not young."""
        for path in map(self._path, digests):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime >= YOUNG_SECONDS:
                    path.unlink()

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise InvalidInput(f"{digest[:80]!r} is not a SHA-256 in lower-case hexadecimal")
        return self._folder / digest[:2] / digest

    def _write(self, path: Path, data: bytes) -> None:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
