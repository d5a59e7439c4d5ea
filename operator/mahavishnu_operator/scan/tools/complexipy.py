"""complexipy: functions that are hard to follow, by cognitive complexity, one file at a time.

Exit codes (8.3): 0 nothing over the limit; 1 a function over it, and also a file it could not read or parse,
and a traceback; 2 it did not look (wrong options). So 0 and 1 count with a report only. Files that it could not
process are named on stdout: unread. It takes no name that is not UTF-8, and then looks at nothing.
It writes its report to a file (which it replaces, so the path is ours) and a cache.
Decided: of the project's configuration only `max-complexity-allowed` holds, and we read it; the rest can write
files, start git in the scanned repository, or hide findings behind a snapshot.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from mahavishnu_operator.api.reasons import Level
from mahavishnu_operator.scan.model import Finding, ToolReport, Unread

from .common import Names, SourceLines, as_arguments, count, crashed, not_utf8, ok, text
from .protocol import Cost, ToolOutput
from .tables import read_table

RULE = "cognitive-complexity"
HELP = "https://complexipy.com/understanding-scores/"
FAILED = re.compile(r"error: Failed to process (?P<name>.+) - Please check file/folder exists or check syntax")
ESCAPE = re.compile(r"\\u\{[0-9a-f]{1,6}\}")


CONFIGURATIONS = (("complexipy.toml", ()), (".complexipy.toml", ()), ("pyproject.toml", ("tool", "complexipy")))


class Complexipy:
    """The adapter; holds no state."""

    name = "complexipy"
    information_uri = "https://complexipy.com/"
    whole_program = False
    default = False
    report_file = "complexipy.sarif"
    cost = Cost(startup_seconds=0.03, per_file_seconds=0.0002, memory_mib=89)

    def selects(self, path: str) -> bool:
        """Python files that are not hidden, as `complexipy .` does."""
        return path.endswith(".py") and not any(name.startswith(".") for name in path.split("/"))

    def version_command(self) -> tuple[str, ...]:
        """`complexipy --version`."""
        return ("complexipy", "--version")

    def parse_version(self, stdout: bytes) -> str:
        """From `complexipy 8.3.0`."""
        found = re.match(rb"complexipy (\d[\w.+-]*)", stdout)
        return found[1].decode() if found else ""

    def command(self, files: Sequence[str], *, scratch: Path, root: Path) -> tuple[str, ...]:
        """SARIF, the one format that has lines and names that can be told apart."""
        allowed = read_limit(root)
        limit = () if allowed is None else ("--max-complexity-allowed", str(allowed))
        where = ("--output", str(scratch / self.report_file), "--cache-dir", str(scratch / "complexipy-cache"))
        options = ("--isolated", "--quiet", "--color", "no", "--output-format", "sarif", *where, *limit)
        return ("complexipy", *options, "--", *as_arguments(files))

    def blockers(self, output: ToolOutput, *, files: Sequence[str], root: Path) -> tuple[Unread, ...]:
        """Names that are not UTF-8 end it before it begins."""
        if output.exit_code == 1 and not output.report and b"UnicodeEncodeError" in output.stderr:
            return not_utf8(files, tool=self.name)
        return ()

    def parse(self, output: ToolOutput, *, files: Sequence[str], root: Path, version: str) -> ToolReport:
        """One finding a function over the limit; what it could not process is unread."""
        if output.exit_code not in (0, 1):
            return crashed(self.name, version, output, files=files)
        names, lines = Names(files, root), SourceLines(files, root)
        try:
            (run,) = json.loads(output.report)["runs"]
            findings = [_finding(result, names) for result in run["results"]]
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
            return crashed(self.name, version, output, files=files, why="wrote no report")
        unread = [Unread(path, "it could not read or parse it") for path in _failed(output.stdout, files, names)]
        if output.exit_code == 1 and not findings and not unread:
            return crashed(self.name, version, output, files=files, why="found nothing")
        return ok(self.name, version, output, findings=findings, unread=unread, files=files, lines=lines)


def read_limit(root: Path) -> int | None:
    """The project's limit, where it has one: of the first file that says anything, as complexipy takes it."""
    for name, keys in CONFIGURATIONS:
        if table := read_table(root / name, *keys):
            limit = table.get("max-complexity-allowed")
            return limit if isinstance(limit, int) and not isinstance(limit, bool) and 0 <= limit < 2**31 else None
    return None


def _finding(result: dict[str, Any], names: Names) -> Finding:
    place = result["locations"][0]["physicalLocation"]
    region = place.get("region") or {}
    return Finding(
        tool=Complexipy.name,
        rule=RULE,
        level=Level.WARNING,
        message=text(result["message"]["text"]),
        path=names.path(os.fsdecode(unquote_to_bytes(text(place["artifactLocation"]["uri"])))),
        line=count(region.get("startLine")),
        end_line=count(region.get("endLine")),
        help_uri=HELP,
    )


def _failed(stdout: bytes, files: Sequence[str], names: Names) -> Iterator[str]:
    """Files it names as failed. It prints control characters escaped (`u{a}` after a backslash)."""
    plain = {_without_control(path): path for path in files}
    for line in os.fsdecode(stdout).split("\n"):
        if failed := FAILED.fullmatch(line):
            bare = names.bare(failed["name"])
            yield names.find(bare) or plain.get(_without_control(bare), bare)


def _without_control(path: str) -> str:
    return "".join(char for char in ESCAPE.sub("", path) if char.isprintable())
