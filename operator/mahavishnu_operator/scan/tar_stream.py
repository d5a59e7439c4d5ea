"""What tarfile reads an archive through: forwards only, unpacked on the way, and never more than is allowed.

The pressure: a few kilobytes of gzip can be gigabytes of a single header, which tarfile would take into memory whole.
What must stay true: no read is larger than what may come next; all bytes count, those of skipped data too.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from typing import IO

from mahavishnu_operator.support.errors import InvalidInput

MIB = 1024 * 1024
GZIP = b"\x1f\x8b"
OTHERS = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"(\xb5/\xfd": "zstd", b"PK\x03\x04": "zip"}
BLOCK = b"\0" * 512
SKIP_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """`ratio`: unpacked to packed bytes, where more than `free_bytes` are unpacked. `name_bytes`: of all names."""

    unpacked_bytes: int = 1024 * MIB
    entries: int = 200_000
    name_bytes: int = 32 * MIB
    header_bytes: int = 256 * 1024
    ratio: int = 200
    free_bytes: int = 64 * MIB


class ArchiveTooLarge(InvalidInput):
    """A limit was reached; the message says which."""

    reason = "ArchiveRefused"


class TarStream:
    """A file object as far as tarfile needs one: read, tell, and seek forwards."""

    def __init__(self, archive: IO[bytes], limits: ArchiveLimits) -> None:
        self._packed = _Counting(archive)
        self._limits = limits
        self._unpacked: IO[bytes] | gzip.GzipFile = self._packed.plain_or_gzip()
        self._position = 0
        self._header_left: int | None = None
        self._last = b""

    @property
    def at_end_mark(self) -> bool:
        """Whether the last read was a block of zeros."""
        return self._last == BLOCK

    def expect_header(self) -> None:
        """From now on what is read is a header, with all that belongs to it."""
        self._header_left = self._limits.header_bytes

    def expect_data(self) -> None:
        """From now on what is read is the content of a file, which the caller takes in pieces."""
        self._header_left = None

    def tell(self) -> int:
        """How many bytes are behind us."""
        return self._position

    def seek(self, position: int, _whence: int = 0) -> int:
        """Skip. ValueError: backwards."""
        if position < self._position:
            raise ValueError("an entry lies before the one that it follows")
        while self._position < position:
            if not self._take(min(position - self._position, SKIP_BYTES)):
                raise EOFError("it ends within an entry")
        return position

    def read(self, size: int = -1) -> bytes:
        """Up to that many bytes, fewer only at the end. ArchiveTooLarge."""
        if self._header_left is not None:
            if not 0 <= size <= self._header_left:
                raise ArchiveTooLarge(
                    f"an entry of the archive has a header of more than {self._limits.header_bytes} bytes"
                )
            self._header_left -= size
        elif size < 0:
            raise ValueError("an archive is read in pieces")
        data = b""
        while len(data) < size and (more := self._take(size - len(data))):
            data += more
        self._last = data
        return data

    def close(self) -> None:
        """Nothing of ours: who gave the file closes it."""

    def _take(self, size: int) -> bytes:
        data = self._unpacked.read(size)
        self._position += len(data)
        limits = self._limits
        if self._position > limits.unpacked_bytes:
            raise ArchiveTooLarge(f"the archive unpacks to more than {limits.unpacked_bytes // MIB} MiB")
        if self._position > limits.free_bytes and self._position > limits.ratio * self._packed.count:
            raise ArchiveTooLarge(f"the archive unpacks to more than {limits.ratio} times its size: it is a bomb")
        return data


class _Counting:
    """Counts what is read of the packed bytes; its first few can be looked at before."""

    def __init__(self, archive: IO[bytes]) -> None:
        self._archive = archive
        self._ahead = archive.read(6)
        self.count = 0

    def plain_or_gzip(self) -> IO[bytes] | gzip.GzipFile:
        for magic, name in OTHERS.items():
            if self._ahead.startswith(magic):
                raise InvalidInput(f"the archive is packed by {name}; a tar is needed, plain or in gzip")
        if self._ahead.startswith(GZIP):
            return gzip.GzipFile(fileobj=self, mode="rb")  # type: ignore[call-overload,no-any-return]
        return self  # type: ignore[return-value]

    def read(self, size: int) -> bytes:
        data = self._ahead[:size] or self._archive.read(size)
        self._ahead = self._ahead[size:]
        self.count += len(data)
        return data
