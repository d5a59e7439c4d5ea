"""A disk of a few megabytes that can be filled to its last byte.

As root with the right to mount: a tmpfs, for the store, the workspaces and the logs. Elsewhere: a limit on the size of
the files that the server may write (RLIMIT_FSIZE), which refuses writes of the store in the same place of the code,
with EFBIG instead of ENOSPC, and leaves the workspaces alone. Which of the two it was is in the evidence.
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

_MNT_DETACH = 2


class SmallDisk:
    """A folder on a disk of its own. `limited`: who is limited where nothing can be mounted."""

    def __init__(self, folder: Path, *, mounted: bool, limited: Callable[[], psutil.Process]) -> None:
        self.folder, self.mounted, self._limited = folder, mounted, limited
        self._ballast = folder / "ballast"

    @property
    def how(self) -> str:
        """The name of this fault."""
        return "tmpfs" if self.mounted else "rlimit"

    def fill(self) -> None:
        """Leave no room for another byte."""
        if not self.mounted:
            self._limit(lambda hard: 0)
            return
        with self._ballast.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    def clear(self) -> None:
        """Make room again."""
        if self.mounted:
            self._ballast.unlink(missing_ok=True)
            return
        self._limit(lambda hard: hard)

    def _limit(self, choose: Callable[[int], int]) -> None:
        with suppress(psutil.NoSuchProcess):
            process = self._limited()
            _, hard = process.rlimit(resource.RLIMIT_FSIZE)
            process.rlimit(resource.RLIMIT_FSIZE, (choose(hard), hard))


@contextmanager
def small_disk(folder: Path, *, megabytes: int, limited: Callable[[], psutil.Process]) -> Iterator[SmallDisk]:
    """A folder that is a small disk while the block lasts."""
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"size={megabytes}m,mode=700".encode()
    mounted = os.geteuid() == 0 and libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, options) == 0
    try:
        yield SmallDisk(folder, mounted=mounted, limited=limited)
    finally:
        if mounted and libc.umount2(os.fsencode(folder), _MNT_DETACH) != 0:
            raise OSError(ctypes.get_errno(), f"{folder} could not be unmounted")
