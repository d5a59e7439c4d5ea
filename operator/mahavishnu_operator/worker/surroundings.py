"""What a tool is started with: an environment of a few known names, and those that the pool's owner gives.

Variables are where secrets and surprises live. What must stay true: nothing of the worker's environment passes but
PATH and what was given for tools; what is given never replaces a name that is set here.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from .variables import take_variables


def tool_environment(scratch: Path) -> dict[str, str]:
    """The whole environment of a tool or command."""
    return _given | clean_environment(scratch)


def clean_environment(scratch: Path) -> dict[str, str]:
    """The same without what the pool's owner gives; HOME, TMPDIR and the cache are below `scratch`."""
    return {
        "PATH": _PATH,
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "XDG_CACHE_HOME": f"{scratch}/cache",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "NO_COLOR": "1",
        "TERM": "dumb",
    }


# Our own interpreter's folder first: scanners that were installed beside us are found without an activated venv.
_PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
_given, _ = take_variables(os.environ)  # of a runner: it has what its parent gave it, and nothing else
_found: dict[str, str] = {}


def find_program(name: str) -> str | None:
    """Where a program is on the PATH that tools get. One that was found is looked for again when it has gone."""
    known = _found.get(name)
    if known is not None and os.access(known, os.X_OK):
        return known
    found = shutil.which(name, path=_PATH)
    if found is not None:
        _found[name] = found
    return found
