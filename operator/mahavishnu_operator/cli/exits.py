"""Exit codes, in one place because CI pipelines match on them (docs/reference/cli.md)."""

from __future__ import annotations

from enum import IntEnum

from mahavishnu_operator.resources.protocol import Unreachable
from mahavishnu_operator.support.errors import InvalidInput, MahavishnuError


class ExitCode(IntEnum):
    """What the shell is told."""

    OK = 0  # done; a scan passed
    FINDINGS = 1  # a scan has findings at or over --fail-on; elsewhere: the server's answer was no
    USAGE = 2  # bad input: an unknown tool, a path that is not there, a broken manifest
    INCOMPLETE = 3  # a scan could not look everywhere: a tool crashed, timed out or is not installed
    UNREACHABLE = 4  # no server answered
    INTERRUPTED = 130  # Ctrl-C (128 + SIGINT, as shells count)
    TERMINATED = 143  # SIGTERM


def exit_code_of(error: MahavishnuError) -> ExitCode:
    """The code for an error that ends a command."""
    match error:
        case InvalidInput():
            return ExitCode.USAGE
        case Unreachable():
            return ExitCode.UNREACHABLE
        case _:
            return ExitCode.FINDINGS
