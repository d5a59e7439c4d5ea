"""What a tool is started with: an environment of a few known names, and a scratch folder for the rest.

Nothing of the agent's environment passes but PATH: variables are where secrets and surprises live. What must stay
true: a scratch folder can be removed whatever a tool made of it: locked, nested deeper than a path can be long, full
of links (which are never followed).
"""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from pathlib import Path


def tool_environment(scratch: Path) -> dict[str, str]:
    """The whole environment of a tool; HOME, TMPDIR and the cache are below `scratch`."""
    return {
        "PATH": _PATH,
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "XDG_CACHE_HOME": str(scratch / "cache"),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "NO_COLOR": "1",
        "TERM": "dumb",
    }


# Our own interpreter's folder first: scanners that were installed beside us are found without an activated venv.
_PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def find_program(name: str) -> str | None:
    """Where a program is on the PATH that tools get."""
    return shutil.which(name, path=_PATH)


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
