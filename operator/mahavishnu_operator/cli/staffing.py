"""How many workers a local scan has: a few to begin with, and never more than it has tasks.

The pressure: a worker costs half a second of a processor and 50 MB before it does anything, and how many tasks there
are is known only once one of them has made the plan. What must stay true: --workers is a limit, not a number to reach.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mahavishnu_operator.scan.listing import LEFT_OUT_FOLDERS


def count_processors() -> int:
    """Processors that this process may use."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def first_workers(root: Path, *, tools: int, most: int) -> int:
    """Workers to start before the plan is known: one a processor, fewer when the folder cannot have tasks for them."""
    limit = min(most, count_processors())
    possible = 0
    for _ in _entries(root):
        possible += tools  # a tool has at most a task for each file
        if possible >= limit:
            return limit
    return max(1, possible)


def all_workers(*, tasks: int, most: int) -> int:
    """Workers once the plan is known."""
    return max(1, min(tasks, most))


def _entries(root: Path) -> Iterator[str]:
    """Names of what may be files to scan; what cannot be read is left to the plan to say."""
    for _, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in LEFT_OUT_FOLDERS]
        yield from files
