"""ruff: a linter of Python files, one static binary, many rules.

Exit codes (0.17): 0 nothing found; 1 findings, and also files it could not read (E902) or parse
(invalid-syntax); 2 it did not look (bad configuration or options). So 0 and 1 count with a JSON list only.
Decided: a file that does not parse is a finding (ruff still applies the rules that need no syntax tree); a
file that cannot be read or decoded (E902) is unread. A project's `fix = true` is overruled: a scan changes nothing.
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

SUFFIXES = (".py", ".pyi", ".ipynb")
CONFIG_NAMES = ("pyproject.toml",)  # ruff checks the project table in it (RUF200)
UNREADABLE = "E902"
LEVELS = {"info": Level.NOTE, "warning": Level.WARNING, "error": Level.ERROR, "fatal": Level.ERROR}


class Ruff:
    """The adapter; holds no state."""

    name = "ruff"
    information_uri = "https://docs.astral.sh/ruff/"
    whole_program = False
    default = True
    report_file = ""
    cost = Cost(startup_seconds=0.01, per_file_seconds=0.0004, memory_mib=102)

    def selects(self, path: str) -> bool:
        """Python files, stubs, notebooks and pyproject.toml, as ruff's own default `include`."""
        name = path.rpartition("/")[2]
        return name.endswith(SUFFIXES) or name in CONFIG_NAMES

    def version_command(self) -> tuple[str, ...]:
        """`ruff --version`."""
        return ("ruff", "--version")

    def parse_version(self, stdout: bytes) -> str:
        """From `ruff 0.17.5`."""
        found = re.match(rb"ruff (\d[\w.+-]*)", stdout)
        return found[1].decode() if found else ""

    def command(self, files: Sequence[str], *, scratch: Path, root: Path) -> tuple[str, ...]:
        """The project's configuration holds, with its excludes for files named one by one too."""
        options = ("--no-cache", "--no-fix", "--no-fix-only", "--force-exclude", "--output-format", "json")
        return ("ruff", "check", *options, "--", *as_arguments(files))

    def parse(self, output: ToolOutput, *, files: Sequence[str], root: Path, version: str) -> ToolReport:
        """One finding an entry; E902 entries are unread files."""
        if output.exit_code not in (0, 1):
            return crashed(self.name, version, output, files=files)
        try:
            entries = json.loads(output.stdout)
            if not isinstance(entries, list):
                raise ValueError("not a list")
            names, lines = Names(files, root), SourceLines(files, root)
            parsed = [_entry(entry, names) for entry in entries]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            why = "printed no list of findings"
            return crashed(self.name, version, output, files=files, why=why)
        findings = [each for each in parsed if isinstance(each, Finding)]
        unread = [each for each in parsed if isinstance(each, Unread)]
        return ok(self.name, version, output, findings=findings, unread=unread, files=files, lines=lines)


def _entry(entry: dict[str, Any], names: Names) -> Finding | Unread:
    path = names.path(text(entry["filename"]))
    rule = text(entry.get("code")) or text(entry.get("name")) or "unknown"
    message = text(entry["message"])
    if rule == UNREADABLE:
        return Unread(path, message)
    begin, end = entry.get("location") or {}, entry.get("end_location") or {}
    cell = count(entry.get("cell"))
    if cell:  # a notebook's rows count within a cell, the file's own lines are unknown
        message, begin, end = f"cell {cell}, line {count(begin.get('row'))}: {message}", {}, {}
    return Finding(
        tool=Ruff.name,
        rule=rule,
        level=LEVELS.get(text(entry.get("severity")), Level.ERROR),
        message=message,
        path=path,
        line=count(begin.get("row")),
        column=count(begin.get("column")),
        end_line=count(end.get("row")),
        end_column=count(end.get("column")),
        help_uri=text(entry.get("url")),
    )
