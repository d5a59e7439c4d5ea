"""Unpacking the archive of a stranger (ScanJob.spec.source.archive).

The pressure: an archive can name files outside of the folder, lead there by links, be a bomb by bytes, entries or
headers, and hold what is no file at all. What must stay true: nothing is ever written outside of the folder, which is
empty at first and ours alone; everything is read as a stream in bounded memory; what is refused is refused in
words, as a whole; what is left is plain files and folders that nobody can write to, and symbolic links of which each
leads into the tree (archives.link_problem). Owners, times, setuid bits and extended attributes are not taken over.
"""

from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mahavishnu_operator.support.errors import InvalidInput

from .archives import link_problem
from .tar_stream import ArchiveLimits, TarStream

FILE_MODE, PROGRAM_MODE, FOLDER_MODE = 0o444, 0o555, 0o555
CHUNK_BYTES = 256 * 1024
MAX_SEGMENT_BYTES, MAX_NAME_BYTES, MAX_DEPTH = 255, 1024, 100
_KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}
_FOLDER, _FILE, _LINK = "a folder", "a file", "a symbolic link"


class ArchiveRefused(InvalidInput):
    """The archive is not unpacked; the message says which entry, and why."""

    reason = "ArchiveRefused"


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What is there now."""

    files: int
    bytes: int


def unpack(archive: IO[bytes], into: Path, *, limits: ArchiveLimits | None = None) -> Unpacked:
    """Unpack a tar, plain or in gzip, into an empty folder, which is read-only afterwards.

    ArchiveRefused: what is in the folder then is to be removed. OSError: the disk.
    """
    bounds = limits or ArchiveLimits()
    stream = TarStream(archive, bounds)
    unpacking = _Unpacking(into, bounds, stream)
    try:
        for entry in _entries(stream):
            unpacking.add(entry)
        return unpacking.finish()
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, RecursionError, ValueError) as error:
        raise ArchiveRefused(f"the archive cannot be read: {error}", hint="make it anew") from error


def _entries(stream: TarStream) -> Iterator[tarfile.TarInfo]:
    """Each entry when it is its turn. tarfile remembers all of them: their number is limited."""
    stream.expect_header()
    with closing(tarfile.TarFile(fileobj=stream, encoding="utf-8", errors="surrogateescape")) as archive:  # type: ignore[arg-type]
        while (entry := archive.next()) is not None:
            stream.expect_data()
            yield entry
            stream.expect_header()
    if not stream.at_end_mark:  # tarfile takes any rubbish for the end
        raise ArchiveRefused("the archive has no end mark: it was cut off, or is damaged", hint="make it anew")
    stream.expect_data()
    while stream.read(CHUNK_BYTES):  # padding; only at its very end gzip checks what was read
        continue


class _Unpacking:
    """What is there so far: the kind of each name, so that no entry lies below a link or on another."""

    def __init__(self, into: Path, limits: ArchiveLimits, stream: TarStream) -> None:
        self._into, self._limits, self._stream = into, limits, stream
        self._kinds: dict[str, str] = {"": _FOLDER}
        self._links: dict[str, str] = {}
        self._entries = self._name_bytes = self._files = self._bytes = 0

    def add(self, entry: tarfile.TarInfo) -> None:
        """Unpack one entry."""
        self._entries += 1
        if self._entries > self._limits.entries:
            raise ArchiveRefused(f"the archive has more than {self._limits.entries} entries")
        name = checked_name(entry.name)
        if entry.isdir():
            self._make_folder(name)
        elif entry.issym():
            problem = link_problem(name, entry.linkname)
            if problem or not name:
                raise ArchiveRefused(f"{entry.name!r} in the archive is {problem or 'a link without a name'}")
            self._claim(name, _LINK)
            self._links[name] = entry.linkname
        elif entry.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and entry.sparse is None:
            self._claim(name, _FILE)
            self._write(name, entry)
        else:
            what = _KINDS.get(entry.type, "a sparse file" if entry.isreg() else "of a kind of its own")
            raise ArchiveRefused(f"{entry.name!r} in the archive is {what}; only files, folders and links are taken")

    def finish(self) -> Unpacked:
        """Make the links, when no file can go through them any more, and lock the folders."""
        for name, target in self._links.items():
            os.symlink(target, self._into / name)
        folders = [name for name, kind in self._kinds.items() if kind == _FOLDER]
        for name in sorted(folders, key=len, reverse=True):
            (self._into / name).chmod(FOLDER_MODE)
        return Unpacked(self._files, self._bytes)

    def _claim(self, name: str, kind: str) -> None:
        """Take the name for that kind, below folders."""
        if name in self._kinds or not name:
            raise ArchiveRefused(f"{name!r} is in the archive more than once, or is the archive's own folder")
        self._make_folder(name.rpartition("/")[0])
        self._remember(name, kind)

    def _make_folder(self, name: str) -> None:
        kind = self._kinds.get(name)
        if kind == _FOLDER:
            return
        if kind is not None:
            raise ArchiveRefused(f"{name!r} is {kind} in the archive, and a folder at once")
        self._make_folder(name.rpartition("/")[0])
        self._remember(name, _FOLDER)
        (self._into / name).mkdir(mode=0o700)

    def _remember(self, name: str, kind: str) -> None:
        self._kinds[name] = kind
        self._name_bytes += len(name)
        if self._name_bytes > self._limits.name_bytes or len(self._kinds) > 2 * self._limits.entries:
            raise ArchiveRefused(f"the names in the archive take more than {self._limits.name_bytes} bytes together")

    def _write(self, name: str, entry: tarfile.TarInfo) -> None:
        left = entry.size
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._into / name, flags, 0o600)
        with open(descriptor, "wb", buffering=0) as file:
            while left:
                data = self._stream.read(min(left, CHUNK_BYTES))
                if not data:
                    raise EOFError(f"it ends within {name!r}")
                left -= len(data)
                file.write(data)
            os.fchmod(descriptor, PROGRAM_MODE if entry.mode & 0o100 else FILE_MODE)
        self._files += 1
        self._bytes += entry.size


def checked_name(name: str) -> str:
    """The name below the folder, '' for the folder itself. ArchiveRefused."""
    shown = repr(name if len(name) <= 80 else f"{name[:77]}...")
    if name.startswith("/"):
        raise ArchiveRefused(f"{shown} in the archive is an absolute name")
    steps = [step for step in name.split("/") if step not in ("", ".")]
    if ".." in steps:
        raise ArchiveRefused(f"{shown} in the archive leads out of its folder")
    if any(step.lower() == ".git" for step in steps):
        raise ArchiveRefused(
            f"{shown} in the archive belongs to a repository's own files, which tools would act on",
            hint="make the archive without .git: `git archive`, or `mahavishnu scan --cluster`",
        )
    if len(steps) > MAX_DEPTH:
        raise ArchiveRefused(f"{shown} in the archive lies deeper than {MAX_DEPTH} folders")
    encoded = [len(os.fsencode(step)) for step in steps]
    if any(size > MAX_SEGMENT_BYTES for size in encoded) or sum(encoded) + len(steps) > MAX_NAME_BYTES:
        raise ArchiveRefused(
            f"{shown} in the archive is too long: at most {MAX_SEGMENT_BYTES} bytes a name and {MAX_NAME_BYTES} a path"
        )
    if "\0" in name:
        raise ArchiveRefused(f"{shown} in the archive has a NUL in its name")
    return "/".join(steps)
