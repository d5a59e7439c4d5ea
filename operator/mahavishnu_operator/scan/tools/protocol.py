"""What one tool module must say about its tool: pure, no processes (the worker's runner starts them).

The pressure: exit codes lie (facts measured for eleven tools: 1 can mean findings or a failed start, 0
can mean a file was not understood), so each tool names its own table and its parser decides the
outcome from exit code and output together. What must stay true: `command` ends options before file
names (`--`, and names start with `./`), so that no file name can become an option; nothing is written
outside `scratch`; `parse` never raises on hostile output: it answers outcome crashed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from mahavishnu_operator.scan.model import ToolReport, Unread


@dataclass(frozen=True, slots=True)
class Cost:
    """Measured on two cores (seconds): start-up, and each file's share. Peak memory in MiB for about 500 files."""

    startup_seconds: float
    per_file_seconds: float
    memory_mib: int


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """What the process left: exit code (negative: that signal), stdout, stderr, and its report file (b'': none)."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    seconds: float
    report: bytes = b""


class Tool(Protocol):
    """A scanner. `whole_program`: its answer depends on all files at once, so it is never split."""

    name: str
    information_uri: str  # where a person reads about it
    whole_program: bool
    default: bool  # runs when nobody names tools: quick, and worth reading on any tree
    report_file: str  # the file in `scratch` that its report goes to; '' where stdout has it
    cost: Cost

    def selects(self, path: str) -> bool:
        """Whether this tool looks at such a file (by name alone)."""
        ...

    def version_command(self) -> tuple[str, ...]:
        """Argv that prints the version."""
        ...

    def parse_version(self, stdout: bytes) -> str:
        """The bare version in that output, '' when there is none."""
        ...

    def command(self, files: Sequence[str], *, scratch: Path, root: Path) -> tuple[str, ...]:
        """Argv for a run with `root` as working directory; files are relative paths.

        `root` is there for tools whose configuration, found there, could make them change files. A list of
        files or a configuration of ours may be written into `scratch`.
        """
        ...

    def parse(self, output: ToolOutput, *, files: Sequence[str], root: Path, version: str) -> ToolReport:
        """The answer. Reads source lines under root only for fingerprints."""
        ...


@runtime_checkable
class StopsAtOneFile(Protocol):
    """A tool that looks at nothing when it cannot take one of its files; scan/tools/going_on.py runs it again."""

    def blockers(self, output: ToolOutput, *, files: Sequence[str], root: Path) -> tuple[Unread, ...]:
        """The files that kept it from the others, and why; empty when it looked, or stopped for another reason.

        It names files among `files` only. Like `parse` it never raises on hostile output.
        """
        ...
