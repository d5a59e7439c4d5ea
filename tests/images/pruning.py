"""Which archives of earlier builds go: each edit of the sources makes one of a quarter of a gigabyte.

What must stay true: what a run still going on may load stays, so an archive goes only when nobody has asked for it for
hours and newer ones of its name are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

KEPT = 3  # of a name: of a few branches that somebody goes to and fro between
KEPT_SECONDS = 6 * 3600.0  # longer than any run


def decide_prune(used_at: Mapping[Path, float], *, now: float) -> list[Path]:
    """The archives of one name that go, oldest first; `used_at`: when each was made or asked for last."""
    by_age = sorted(used_at, key=lambda archive: used_at[archive])
    return [archive for archive in by_age[:-KEPT] if now - used_at[archive] > KEPT_SECONDS]
