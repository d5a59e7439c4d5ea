"""vulture: code that nothing uses, in all Python files at once.

Exit codes (2.16): 0 nothing found; 3 findings, whatever else; 1 no findings and a file it could not read or
parse (named on stderr: unread), and also when a file is missing: then it looked at nothing; 2 wrong options or
configuration. It looks at the whole program: cutting 500 files into fifties made 2.4 times as many findings.
The project's `[tool.vulture]` holds, but for `paths`: the plan says which files. Nothing in it runs code.
Its output is text, so names are matched against those that it was given.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mahavishnu_operator.api.reasons import Level
from mahavishnu_operator.scan.model import Finding, ToolReport, Unread

from .common import Names, SourceLines, as_arguments, crashed, fits_argv, is_utf8, ok
from .protocol import Cost, ToolOutput
from .records import Records, at_line
from .tables import read_table

FINDINGS = 3
TABLE = ("tool", "vulture")
CONFIDENCE = re.compile(r" \([0-9]{1,3}% confidence(, [0-9]+ lines?)?\)\Z")
UNUSED = re.compile(r"unused (attribute|class|function|import|method|property|variable) '")
UNREACHABLE = re.compile(r"unreachable |unsatisfiable |redundant ")
UNREADABLE = re.compile(r"Error: Could not read file (?P<name>.+) - ", re.DOTALL)
MISSING = re.compile(r"Error: (?P<name>.+) could not be found\.", re.DOTALL)
WITHOUT_LINE = re.compile(r"(?P<name>.+?)(?::None)?: (?P<why>invalid source code \"[^\n]*|[^:\n]+)", re.DOTALL)


class Vulture:
    """The adapter; holds no state."""

    name = "vulture"
    information_uri = "https://github.com/jendrikseipp/vulture"
    whole_program = True
    default = False
    report_file = ""
    cost = Cost(startup_seconds=0.05, per_file_seconds=0.0031, memory_mib=29)

    def selects(self, path: str) -> bool:
        """Python files, as `vulture .` does."""
        return path.endswith(".py")

    def version_command(self) -> tuple[str, ...]:
        """`vulture --version`."""
        return ("vulture", "--version")

    def parse_version(self, stdout: bytes) -> str:
        """From `vulture 2.16`."""
        found = re.match(rb"vulture (\d[\w.+-]*)", stdout)
        return found[1].decode() if found else ""

    def command(self, files: Sequence[str], *, scratch: Path, root: Path) -> tuple[str, ...]:
        """Files as arguments; more than a command line takes go into a configuration beside the project's own."""
        if fits_argv(files):
            return ("vulture", "--", *as_arguments(files))
        settings = {**read_table(root / "pyproject.toml", *TABLE), "paths": as_arguments(filter(is_utf8, files))}
        config = scratch / "vulture.toml"
        lines = (f"{json.dumps(key)} = {_toml(value)}\n" for key, value in settings.items())
        config.write_text("[tool.vulture]\n" + "".join(lines), encoding="utf-8")
        return ("vulture", "--config", str(config))

    def blockers(self, output: ToolOutput, *, files: Sequence[str], root: Path) -> tuple[Unread, ...]:
        """A missing file ends it before it begins."""
        if output.exit_code != 1:
            return ()
        return tuple(_unread(Records(output.stderr, files), Names(files, root), MISSING, "no such file"))

    def parse(self, output: ToolOutput, *, files: Sequence[str], root: Path, version: str) -> ToolReport:
        """Findings from stdout, unread files from stderr."""
        names, lines = Names(files, root), SourceLines(files, root)
        unread = [*_unparsed(Records(output.stderr, files), names)]
        findings = [*_findings(Records(output.stdout, files), names)]
        looked = {0: not findings, 1: bool(unread) and not findings, FINDINGS: bool(findings)}
        if output.exit_code not in looked:
            return crashed(self.name, version, output, files=files)
        if not looked[output.exit_code] or self.blockers(output, files=files, root=root):
            return crashed(self.name, version, output, files=files, why="said nothing that could be understood")
        if not fits_argv(files):
            why = "vulture takes so many files from a list, and a list holds no name that is not UTF-8"
            unread += [Unread(path, why) for path in files if not is_utf8(path)]
        return ok(self.name, version, output, findings=findings, unread=unread, files=files, lines=lines)


def _toml(value: Any) -> str:
    """JSON writes strings, numbers and lists as TOML does, once nothing but ASCII control characters is escaped."""
    return json.dumps(value, ensure_ascii=False, default=str).replace("\x7f", "\\u007f")


def _findings(output: Records, names: Names) -> Iterator[Finding]:
    for candidates in output:
        for record in candidates:
            found = at_line(record, names)
            rule = _rule(found[2]) if found else ""
            if found and rule:
                path, line, message = found
                yield Finding(Vulture.name, rule, Level.WARNING, message, path, line=line)
                break


def _rule(message: str) -> str:
    """`unused-function` and the like, `unreachable-code`; '' for what is no finding."""
    if not CONFIDENCE.search(message):
        return ""
    if unused := UNUSED.match(message):
        return f"unused-{unused[1]}"
    return "unreachable-code" if UNREACHABLE.match(message) else ""


def _unparsed(output: Records, names: Names) -> Iterator[Unread]:
    """Files that it could not parse (`path:line: why`) or read."""
    yield from _unread(output, names, UNREADABLE, "it cannot be decoded")
    for candidates in output:
        for record in candidates:
            if found := at_line(record, names):
                yield Unread(found[0], f"line {found[1]}: {found[2]}")
                break
            if (plain := WITHOUT_LINE.fullmatch(record)) and (path := names.find(plain["name"])):
                yield Unread(path, plain["why"])
                break


def _unread(output: Records, names: Names, pattern: re.Pattern[str], why: str) -> Iterator[Unread]:
    for candidates in output:
        for record in candidates:
            found = pattern.fullmatch(record)
            path = names.find(found["name"]) if found else None
            if path is not None:
                yield Unread(path, why)
                break
