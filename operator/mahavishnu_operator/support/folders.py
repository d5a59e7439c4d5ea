"""The folder that a process keeps its state in, tried out before anything is opened in it.

The pressure: a disk that is full, read-only or somebody else's shows in the middle of opening a database, in words of
that database. What must stay true: who starts a process on such a disk is told which folder it is and why, at once;
the trial leaves nothing behind.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .errors import InvalidInput

ROOM_BYTES = 256 * 1024  # what the databases write before the first task: less, and they fail a moment later


def make_data_folder(folder: Path) -> None:
    """The folder, there, ours to write, and with some room. InvalidInput when it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as trial:
            trial.write(bytes(ROOM_BYTES))
            os.fsync(trial.fileno())  # some file systems find out late that they have no room
    except OSError as error:
        raise InvalidInput(
            f"cannot keep state in {folder}: {error.strerror}",
            hint="free space on that disk, or name a folder that you may write with --data",
        ) from None
