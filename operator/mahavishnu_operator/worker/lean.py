"""What a worker's libraries would load if they find it, and a worker never uses.

The pressure: a pool is as quick as its workers start, and a fifth of an agent's start was a library that draws
tracebacks in colour. What must stay true: this is for programs that are a worker and nothing else.
"""

from __future__ import annotations

import sys

UNUSED = ("better_exceptions", "rich")  # by structlog, for the tracebacks of a terminal


def leave_out_what_no_worker_uses() -> None:
    """From now on those libraries are as if they were not installed: `import` documents None in sys.modules for it."""
    for name in UNUSED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
