"""Making the archive of a folder that workers elsewhere are to scan (ScanJob.spec.source.archive).

The pressure: the same files must give the same bytes, since a blob is known by its digest; and nothing of the machine
they come from belongs in it (owners, times, what .gitignore leaves out). What must stay true: the files are exactly
those that a scan of the folder would look at; a symbolic link is taken along only if it surely stays in the tree
(mypy follows imports through them), and is otherwise named as left out; making it takes bounded memory.

The format is a GNU tar, which carries names of any bytes, in gzip at a fixed level. The same zlib gives the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mahavishnu_operator.api.wire import MAX_BLOB_BYTES
from mahavishnu_operator.support.errors import InvalidInput

from .listing import list_files
from .model import Unread

MAX_ARCHIVE_BYTES = MAX_BLOB_BYTES  # as it travels: compressed
MAX_LINK_BYTES = 1024
COMPRESSION = 6


@dataclass(frozen=True, slots=True)
class MadeArchive:
    """What was written. `unpacked_bytes`: the files' own. `skipped`: what a scan looks at no more than this does."""

    sha256: str
    size: int
    files: int
    unpacked_bytes: int
    skipped: tuple[Unread, ...] = ()


def make_archive(
    root: Path,
    out: IO[bytes],
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    limit: int = MAX_ARCHIVE_BYTES,
) -> MadeArchive:
    """Write the archive of `root` to `out`. InvalidInput: no folder, over the limit, or changed meanwhile."""
    listing = list_files(root, include=include, exclude=exclude)
    skipped = list(listing.skipped)
    sink = _Sink(out, limit, root)
    names = {file.path: False for file in listing.files} | dict.fromkeys(listing.links, True)
    unpacked = 0
    with (
        gzip.GzipFile(filename="", fileobj=sink, mode="wb", compresslevel=COMPRESSION, mtime=0) as packed,
        tarfile.TarFile(
            fileobj=packed, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape"
        ) as archive,
    ):
        for name in sorted(names, key=os.fsencode):
            if names[name]:
                problem = _add_link(archive, root, name)
                skipped.extend([Unread(name, problem)] if problem else [])
            else:
                unpacked += _add_file(archive, root, name)
    ordered = tuple(sorted(skipped, key=lambda unread: os.fsencode(unread.path)))
    return MadeArchive(sink.digest.hexdigest(), sink.size, len(listing.files), unpacked, ordered)


def link_problem(name: str, target: str) -> str:
    """Why a link of that name is not taken for one within the tree; empty: it surely leads nowhere else.

    Steps upwards may only come first, where they count from the link's own folder, which is no link: behind a
    name, `..` would lead out of whatever that name is a link to.
    """
    if not target or target.startswith("/"):
        return "a symbolic link to an absolute path"
    if len(os.fsencode(target)) > MAX_LINK_BYTES:
        return f"a symbolic link whose target is longer than {MAX_LINK_BYTES} bytes"
    steps = [step for step in target.split("/") if step not in ("", ".")]
    upwards = next((index for index, step in enumerate(steps) if step != ".."), len(steps))
    if ".." in steps[upwards:]:
        return "a symbolic link with '..' behind a name in its target"
    if upwards > name.count("/"):
        return "a symbolic link that leaves the tree"
    return ""


def _add_file(archive: tarfile.TarFile, root: Path, name: str) -> int:
    """Add one file; how many bytes it has."""
    try:
        descriptor = os.open(root / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise _changed(root, name, "it is no regular file any more")
            info = _entry(name, size=status.st_size, mode=0o755 if status.st_mode & stat.S_IXUSR else 0o644)
            archive.addfile(info, file)
    except OSError as error:
        raise _changed(root, name, error.strerror or str(error)) from error
    return status.st_size


def _add_link(archive: tarfile.TarFile, root: Path, name: str) -> str:
    """Add one link, or answer why not."""
    try:
        target = os.readlink(root / name)
    except OSError as error:
        raise _changed(root, name, error.strerror or str(error)) from error
    problem = link_problem(name, target)
    if not problem:
        info = _entry(name, size=0, mode=0o777)
        info.type, info.linkname = tarfile.SYMTYPE, target
        archive.addfile(info)
    return problem


def _entry(name: str, *, size: int, mode: int) -> tarfile.TarInfo:
    """An entry with nothing of this machine: no time, no owner."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, mode
    return info


def _changed(root: Path, name: str, why: str) -> InvalidInput:
    return InvalidInput(
        f"{name!r} of {root} could not be put into the archive: {why}",
        hint="it may have changed meanwhile: try again, or leave it out with --exclude",
    )


class _Sink:
    """Counts and digests what is written, up to a limit."""

    def __init__(self, out: IO[bytes], limit: int, root: Path) -> None:
        self._out, self._limit, self._root = out, limit, root
        self.digest, self.size = hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        """Write all of it. InvalidInput: over the limit."""
        self.size += len(data)
        if self.size > self._limit:
            raise InvalidInput(
                f"the archive of {self._root} is larger than {self._limit / 1024**2:g} MiB as it travels (gzip)",
                hint="leave files out with --exclude or .gitignore, scan a folder of it, or use source.git",
            )
        self.digest.update(data)
        self._out.write(data)
        return len(data)

    def flush(self) -> None:
        """Pass on."""
        self._out.flush()
