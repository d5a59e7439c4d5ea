"""Which variables the owner of a pool may give to what its workers run, and how they travel (docs/adr/0022).

The pressure: the programs of a container read its variables before any code of ours does (LD_PRELOAD, PYTHONPATH), and
the keys of a ConfigMap are not known when a pool is accepted. So in a Pod every variable of a pool has a prefix, which
no program knows, and loses it only where a tool is started. What must stay true: a name that the worker sets itself,
or that chooses the code a program loads, is never handed on; the rule in CEL and the worker judge by the same tables.
"""

from __future__ import annotations

import re

POD_PREFIX = "MAHAVISHNU_TOOL_"  # of the name in the container
NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
SET_BY_WORKER = (
    "PATH",
    "HOME",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "LANG",
    "LC_ALL",
    "NO_COLOR",
    "TERM",
)
RESERVED_BEGINNINGS = ("LD_", "PYTHON", "MAHAVISHNU_")


def may_be_handed_on(name: str) -> bool:
    """Whether a tool may be given a variable of this name."""
    free = name not in SET_BY_WORKER and not name.startswith(RESERVED_BEGINNINGS)
    return free and re.fullmatch(NAME, name) is not None
