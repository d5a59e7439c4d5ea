"""`python -m mahavishnu_operator.worker`: one line of configuration on stdin, then work until stdin closes."""

from __future__ import annotations

import os
import sys

from mahavishnu_operator.support.errors import InvalidInput

from .config import WorkerConfig, parse_config
from .lean import leave_out_what_no_worker_uses

MAX_LINE_BYTES = 256 * 1024


def _first_line() -> bytes:
    """The line, read without buffering past it: the rest of stdin is the parent's pulse."""
    line = b""
    while not line.endswith(b"\n") and len(line) < MAX_LINE_BYTES:
        byte = os.read(0, 1)
        if not byte:
            break
        line += byte
    return line


def main() -> int:
    """The exit code of the agent; 2 for a configuration that cannot be used."""
    leave_out_what_no_worker_uses()
    from .agent import run_agent

    try:
        return run_agent(parse_config(_first_line(), WorkerConfig), parent_pipe=True)
    except InvalidInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
