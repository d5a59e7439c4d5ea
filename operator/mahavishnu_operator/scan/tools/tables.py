"""Reading a table of a project's TOML file, when we read a setting ourselves.

What must stay true: a file of the scanned tree is bounded, regular, and no link; one that cannot be read or
parsed settles nothing here (a tool that reads it says itself what is wrong).
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from .common import read_regular

MAX_BYTES = 1024 * 1024


def read_table(path: Path, *keys: str) -> dict[str, Any]:
    """The table at these keys; empty when there is none."""
    try:
        table: Any = tomllib.loads(read_regular(path, MAX_BYTES).decode("utf-8", "replace"))
    except (OSError, tomllib.TOMLDecodeError, RecursionError):
        return {}
    for key in keys:
        table = table.get(key) if isinstance(table, dict) else None
    return table if isinstance(table, dict) else {}
