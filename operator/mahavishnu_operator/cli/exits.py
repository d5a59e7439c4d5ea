"""Exit codes, in one place because CI pipelines match on them (README.md has them for people)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from mahavishnu_operator.resources.protocol import Unreachable
from mahavishnu_operator.support.errors import InvalidInput, MahavishnuError

from .output import say


class ExitCode(IntEnum):
    """What the shell is told."""

    OK = 0  # done; a scan passed
    FINDINGS = 1  # a scan has findings at or over --fail-on; elsewhere: the server's answer was no
    USAGE = 2  # bad input: an unknown tool, a path that is not there, a broken manifest
    INCOMPLETE = 3  # a scan could not look everywhere: a tool crashed, timed out or is not installed
    UNREACHABLE = 4  # no server answered
    INTERRUPTED = 130  # Ctrl-C (128 + SIGINT, as shells count)
    TERMINATED = 143  # SIGTERM


def end_with(error: MahavishnuError, *, refused: ExitCode = ExitCode.FINDINGS) -> ExitCode:
    """Say what is wrong; the code for an error that ends a command. `refused`: for an answer that was no."""
    say(f"error: {error.message}")
    if error.hint:
        say(f"hint: {error.hint}")
    match error:
        case InvalidInput():
            return ExitCode.USAGE
        case Unreachable():
            return ExitCode.UNREACHABLE
        case _:
            return refused


@contextmanager
def looking() -> Iterator[None]:
    """Around what has findings for an answer: an error is none, and a pipeline must not take it for some."""
    try:
        yield
    except MahavishnuError as error:
        sys.exit(end_with(error, refused=ExitCode.INCOMPLETE))
