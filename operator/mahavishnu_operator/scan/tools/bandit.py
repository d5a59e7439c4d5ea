"""bandit: security defects in Python files, one file at a time.

Exit codes (1.9): 0 nothing found, and also when no file could be parsed; 1 findings; 2 it did not look.
Files it could not read or parse are in `errors` of its JSON, whatever the exit code: those are unread.
It has no configuration unless asked (`-c`, `--ini`), and is not asked: a `.bandit` file can name files to write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mahavishnu_operator.api.reasons import Level
from mahavishnu_operator.scan.model import Finding, ToolReport, Unread

from .common import Names, SourceLines, as_arguments, count, crashed, ok, text
from .protocol import Cost, ToolOutput

LEVELS = {"LOW": Level.NOTE, "MEDIUM": Level.WARNING, "HIGH": Level.ERROR}


class Bandit:
    """The adapter; holds no state."""

    name = "bandit"
    information_uri = "https://bandit.readthedocs.io/"
    whole_program = False
    default = True
    report_file = ""
    cost = Cost(startup_seconds=0.14, per_file_seconds=0.012, memory_mib=55)

    def selects(self, path: str) -> bool:
        """Python files, as `bandit -r` does."""
        return path.endswith(".py")

    def version_command(self) -> tuple[str, ...]:
        """`bandit --version`."""
        return ("bandit", "--version")

    def parse_version(self, stdout: bytes) -> str:
        """From `bandit 1.9.4` and a line on Python."""
        found = re.match(rb"bandit (\d[\w.+-]*)", stdout)
        return found[1].decode() if found else ""

    def command(self, files: Sequence[str], *, scratch: Path, root: Path) -> tuple[str, ...]:
        """JSON to stdout; stderr keeps what it says about itself."""
        return ("bandit", "-q", "-f", "json", "--", *as_arguments(files))

    def parse(self, output: ToolOutput, *, files: Sequence[str], root: Path, version: str) -> ToolReport:
        """`results` are findings, `errors` unread files."""
        if output.exit_code not in (0, 1):
            return crashed(self.name, version, output, files=files)
        try:
            answer = json.loads(output.stdout)
            names, lines = Names(files, root), SourceLines(files, root)
            findings = [_finding(entry, names, lines) for entry in answer["results"]]
            unread = [Unread(names.path(text(each["filename"])), text(each["reason"])) for each in answer["errors"]]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return crashed(self.name, version, output, files=files, why="printed no report")
        return ok(self.name, version, output, findings=findings, unread=unread, files=files, lines=lines)


def _finding(entry: dict[str, Any], names: Names, lines: SourceLines) -> Finding:
    path = names.path(text(entry["filename"]))
    line = count(entry.get("line_number"))
    last = max((count(each) for each in entry.get("line_range") or ()), default=0)
    begin, end = entry.get("col_offset"), entry.get("end_col_offset")
    one_line = last == line  # bandit gives the end's column, but not always the line that it is in
    return Finding(
        tool=Bandit.name,
        rule=text(entry["test_id"]),
        level=LEVELS.get(text(entry.get("issue_severity")), Level.NOTE),
        message=text(entry["issue_text"]),
        path=path,
        line=line,
        column=lines.column(path, line, begin) if isinstance(begin, int) and begin >= 0 and line else 0,
        end_line=last,
        end_column=lines.column(path, last, end) if isinstance(end, int) and end > 0 and one_line and line else 0,
        help_uri=text(entry.get("more_info")),
    )
