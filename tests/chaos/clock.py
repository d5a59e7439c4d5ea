"""A wall clock that can be stepped under running processes, by a library that is loaded into them.

Debian's libfaketime would be the thing, but its version makes every sleep of Python 3.11 and later fail as soon as it
is told to leave monotonic clocks alone (wolfcw/libfaketime issue 426); and it must, as a step of the real wall clock
does. So the few lines that are needed are in stepped_clock.c, compiled for each clock in a tenth of a second.
"""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

FURTHEST_SECONDS = 6 * 3600  # a job's own time-out is longer
_SOURCE = Path(__file__).with_name("stepped_clock.c")


class CompilerNotInstalled(Exception):
    """There is no C compiler on this machine."""


class SteppedClock:
    """A clock that starts right, in a folder of its own. Give `environment` to the processes that shall go by it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._file, self._library = folder / "offset", folder / "stepped_clock.so"
        self._file.write_bytes(struct.pack("=q", 0))
        compiler = shutil.which("cc")
        if compiler is None:
            raise CompilerNotInstalled("no C compiler here: `make packages` installs it, or prints the command")
        subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", self._library, _SOURCE], check=True)

    @property
    def environment(self) -> Mapping[str, str]:
        """What makes a process go by this clock."""
        return {"LD_PRELOAD": str(self._library), "STEPPED_CLOCK": str(self._file)}

    def step(self, pick: float) -> None:
        """Somewhere between hours back and hours ahead of the right time."""
        self.step_to(round((2 * pick - 1) * FURTHEST_SECONDS))

    def step_to(self, seconds: int) -> None:
        """To so many seconds from the right time."""
        with self._file.open("r+b") as file, mmap.mmap(file.fileno(), 8) as page:
            page[:] = struct.pack("=q", seconds)
