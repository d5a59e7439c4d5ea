"""What a tool is started with: an environment of a few known names, and a scratch folder for the rest.

Nothing of the agent's environment passes but PATH: variables are where secrets and surprises live.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def tool_environment(scratch: Path) -> dict[str, str]:
    """The whole environment of a tool; HOME, TMPDIR and the cache are below `scratch`."""
    here = str(Path(sys.executable).parent)
    return {
        "PATH": os.pathsep.join([here, os.environ.get("PATH", os.defpath)]),
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "XDG_CACHE_HOME": str(scratch / "cache"),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONSAFEPATH": "1",
        "NO_COLOR": "1",
        "TERM": "dumb",
    }


def find_program(name: str) -> str | None:
    """Where a program is on the PATH that tools get."""
    return shutil.which(name, path=tool_environment(Path("/"))["PATH"])


def remove_scratch(scratch: Path) -> None:
    """Delete a scratch folder, also where a tool took its own permissions away. Links are not followed."""

    def make_writable(_function: object, path: str, _error: object) -> None:
        parent = os.path.dirname(path)
        os.chmod(parent, 0o700)
        if os.path.isdir(path) and not os.path.islink(path):
            os.chmod(path, 0o700)
            shutil.rmtree(path, ignore_errors=True)
        elif os.path.lexists(path):
            os.unlink(path)

    if scratch.exists():
        shutil.rmtree(scratch, onerror=make_writable)
