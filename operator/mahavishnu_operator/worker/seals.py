"""A digest of a tree's state by which a change of it is seen, without reading a file.

The pressure: a tool may have written into a tree that a later task looks at, and reading a large tree again costs as
much as fetching it. So the seal takes of every name what the kernel knows: mode, size, inode, and the times of the last
change. A change sets the change time, and no call can set that back; only who may set the machine's clock could.
What must stay true: links are not followed; the seal is kept by the agent, where no tool reaches it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from mahavishnu_operator.scan.unpacking import FILE_MODE, FOLDER_MODE, PROGRAM_MODE


def seal(folder: Path) -> tuple[str, int]:
    """The seal, and how many bytes its files have. OSError."""
    digest, size = hashlib.sha256(), 0
    waiting = [os.fsencode(folder)]
    while waiting:
        here = waiting.pop()
        digest.update(_state(b".", os.lstat(here)))
        with os.scandir(here) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            status = entry.stat(follow_symlinks=False)
            digest.update(_state(entry.name, status))
            if stat.S_ISDIR(status.st_mode):
                waiting.append(entry.path)
            else:
                size += status.st_size
    return digest.hexdigest(), size


def lock_tree(folder: Path) -> None:
    """Take the right to write away from all of a tree, its folders last."""
    for here, _, names in os.walk(folder, topdown=False):
        for name in names:
            path = os.path.join(here, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode):
                os.chmod(path, PROGRAM_MODE if mode & stat.S_IXUSR else FILE_MODE)
        os.chmod(here, FOLDER_MODE)


def _state(name: bytes, status: os.stat_result) -> bytes:
    numbers = (status.st_mode, status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
    return len(name).to_bytes(4, "big") + name + b"".join(number.to_bytes(16, "big") for number in numbers)
