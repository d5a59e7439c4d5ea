"""Where both console scripts begin: light enough that Ctrl-C is answered in words while the program still loads.

The pressure: loading takes up to a second, and a KeyboardInterrupt in it ends in a traceback of whatever module was
being read. What must stay true: nothing of ours but this module is imported before the handler is in place; commands
that have something to stop take the signals over in their event loop, before they start it.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def leave_at_once(number: int, frame: FrameType | None) -> None:
    """There is nothing to stop yet, so nothing is unwound either."""
    os.write(2, b"interrupted\n")
    os._exit(128 + number)


def main() -> None:
    """The entry point of `mahavishnu` and `kubectl-mahavishnu`."""
    signal.signal(signal.SIGINT, leave_at_once)  # also where a shell's background job ignores it: somebody sent it
    match sys.argv[1:]:
        case [("pod-agent" | "pod-runner") as program, *arguments]:  # without the command line: see worker/pods.py
            from mahavishnu_operator.worker.pods import run_program

            sys.exit(run_program(program, arguments))
        case _:
            from .main import run

            run()
