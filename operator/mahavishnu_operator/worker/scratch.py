"""Folders for what tasks write: one of each task, below that of its agent or runner host (scratch_space.py).

What must stay true: a scratch folder can be removed whatever a tool made of it: locked, nested deeper than a path can
be long, full of links (which are never followed).
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def make_scratch(scratch: Path) -> None:
    """Make the folder of one task, whatever an earlier one did to those above it. OSError."""
    try:
        scratch.mkdir(mode=0o700)
    except OSError:
        unlock_parents(scratch)
        scratch.mkdir(mode=0o700)


def unlock_parents(scratch: Path) -> None:
    """Make the two folders above a task's folder ours again: a tool runs as our user and may have changed them.

    OSError: they cannot be.
    """
    for folder in (scratch.parent.parent, scratch.parent):
        if folder.is_symlink() or (os.path.lexists(folder) and not folder.is_dir()):
            folder.unlink()
        folder.mkdir(mode=0o700, exist_ok=True)
        _unlock(folder)


def remove_scratch(scratch: Path) -> bool:
    """Delete a scratch folder with all in it; False when something in it cannot be deleted.

    Folders are emptied at the top alone: what is nested moves up, so no depth is too deep.
    """
    if scratch.is_symlink() or not scratch.is_dir():
        return not os.path.lexists(scratch)
    try:
        _unlock(scratch)
        while folders := _empty(scratch, into=scratch):
            for folder in folders:
                _empty(folder, into=scratch)
                folder.rmdir()
        scratch.rmdir()
    except OSError:
        return False
    return True


def _unlock(folder: Path) -> None:
    folder.chmod(0o700)


def _empty(folder: Path, *, into: Path) -> list[Path]:
    """Unlink all but folders; those move into `into`, unlocked, and are answered."""
    folders: list[Path] = []
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.path)
            continue
        here = Path(entry.path)
        _unlock(here)
        folders.append(here if folder == into else here.rename(into / uuid.uuid4().hex))
    return folders


class TaskFolder:
    """The folder of the task that runs, one task after another.

    The pressure: to make one and remove it is a tenth of what a short command costs. So a folder that a task did not
    touch is kept when the next is to have one of the same name: it cannot be told from a new one.
    """

    def __init__(self) -> None:
        self.path: Path | None = None
        self._name = ""
        self._made: tuple[int, ...] = ()

    def make(self, name: str) -> Path:
        """An empty folder of that name. OSError."""
        if self.path is None or name != self._name:
            path = Path(name)
            make_scratch(path)
            self.path, self._name, self._made = path, name, _look(path)
        return self.path

    def is_untouched(self) -> bool:
        """Whether it is empty and as it was made."""
        try:
            return self.path is not None and _look(self.path) == self._made and not os.listdir(self.path)
        except OSError:
            return False  # removed or locked

    def remove_empty(self) -> bool:
        """Remove it if there is nothing in it; whether it is gone."""
        if self.path is not None:
            try:
                self.path.rmdir()
            except OSError:
                return False
            self.path = None
        return True

    def remove(self) -> bool:
        """Remove it with all that is in it; False when something stays."""
        path, self.path = self.path, None
        return path is None or remove_scratch(path)


def _look(folder: Path) -> tuple[int, ...]:
    """What changes when anything is made, removed or renamed in a folder, or its rights are changed."""
    status = os.lstat(folder)
    return (status.st_ino, status.st_mode, status.st_uid, status.st_gid, status.st_nlink, status.st_ctime_ns)
