"""mypy: types, in all Python files and stubs at once.

Exit codes (2.4): 0 nothing found; 1 findings; 2 it did not look: wrong options, and also one file that it cannot
read, decode, parse or place among the modules (named on stderr or stdout). Then it has checked nothing else, so
such files are named by `blockers`, set aside as unread, and it runs again without them.

Decided: no configuration of the scanned tree is read. A mypy plugin is code, `python_executable` is started, reports
are files written anywhere; and what is left (`strict` and the like) speaks of an environment with the project's
libraries, which a worker does not have: it would report their absence. So imports from outside of the tree
are of type Any, on every worker alike (`--no-site-packages --ignore-missing-imports`), and only files that were
given are reported on (`--follow-imports=silent`). `# mypy:` comments in a file hold; they cannot name code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mahavishnu_operator.api.reasons import Level
from mahavishnu_operator.scan.model import Finding, ToolReport, Unread

from .common import Names, SourceLines, as_arguments, count, crashed, fits_argv, is_utf8, not_utf8, ok, text
from .mypy_modules import Modules
from .protocol import Cost, ToolOutput
from .records import Records

SUFFIXES = (".py", ".pyi")
NEVER_LOOKED_INTO = ("__pycache__", "site-packages", "node_modules")
STOPPED = 2
LEVELS = {"error": Level.ERROR, "note": Level.NOTE}
HELP = "https://mypy.readthedocs.io/en/stable/_refs.html#code-"
OPTIONS = (
    *("--config-file=", "--no-incremental", "--output=json", "--no-error-summary"),
    *("--follow-imports=silent", "--ignore-missing-imports", "--no-site-packages"),
)
UNREADABLE = re.compile(r"(?P<name>.+): error: (?P<why>Cannot (?:decode|read) file: .+)", re.DOTALL)
BROKE = re.compile(r"(?P<name>.+):[0-9]+: error: (?P<why>INTERNAL ERROR) .*", re.DOTALL)
BAD_PACKAGE = re.compile(rb"contains __init__\.pyi? but is not a valid Python package name")
DUPLICATE = "Duplicate module named "
SHADOW = re.compile(r'This file shadows library module "([\w.]+)"')


class Mypy:
    """The adapter; holds no state."""

    name = "mypy"
    information_uri = "https://mypy.readthedocs.io/"
    whole_program = True
    default = False
    report_file = ""
    cost = Cost(startup_seconds=1.4, per_file_seconds=0.0028, memory_mib=411)

    def selects(self, path: str) -> bool:
        """Python files and stubs, outside of the folders that `mypy .` leaves out."""
        names = path.split("/")
        return path.endswith(SUFFIXES) and not any(n.startswith(".") or n in NEVER_LOOKED_INTO for n in names)

    def version_command(self) -> tuple[str, ...]:
        """`mypy --version`."""
        return ("mypy", "--version")

    def parse_version(self, stdout: bytes) -> str:
        """From `mypy 2.4.1 (compiled: yes)`."""
        found = re.match(rb"mypy (\d[\w.+-]*)", stdout)
        return found[1].decode() if found else ""

    def command(self, files: Sequence[str], *, scratch: Path, root: Path) -> tuple[str, ...]:
        """Files as arguments; more than a command line takes go into a list, a line each."""
        options = ("mypy", *OPTIONS, "--cache-dir", str(scratch / "mypy-cache"), "--")
        if fits_argv(files):
            return (*options, *as_arguments(files))
        listed = scratch / "mypy-files"
        lines = [f"{name}\n" for name in as_arguments(files) if _is_line(name)]
        listed.write_text("".join(lines), encoding="utf-8")
        return (*options, f"@{listed}")

    def blockers(self, output: ToolOutput, *, files: Sequence[str], root: Path) -> tuple[Unread, ...]:
        """What it could not read, decode, parse or place, and with a module of a name all others of that name."""
        if output.exit_code != STOPPED:
            return ()
        names = Names(files, root)
        named = [*_named_on_stderr(Records(output.stderr, files), names)]
        if b"INTERNAL ERROR" in output.stderr and not named:
            named += not_utf8(files, tool=self.name)
        if BAD_PACKAGE.search(output.stderr):
            named += Modules(root).misplaced(files)
        for entry in _last_errors(output.stdout):
            named += _blocked_by(entry, names, files, root)
        return tuple(dict.fromkeys(named))

    def parse(self, output: ToolOutput, *, files: Sequence[str], root: Path, version: str) -> ToolReport:
        """One finding an entry; its hint goes with its message."""
        if output.exit_code not in (0, 1):
            return crashed(self.name, version, output, files=files, why=_why_stopped(output.stdout))
        names, lines = Names(files, root), SourceLines(files, root)
        try:
            findings = [_finding(entry, names) for entry in _entries(output.stdout)]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return crashed(self.name, version, output, files=files, why="printed no list of findings")
        if (output.exit_code == 1) != bool(findings):
            return crashed(self.name, version, output, files=files, why=f"printed {len(findings)} findings")
        why = "mypy takes so many files from a list, and a list holds no name with a line break or not in UTF-8"
        unread = [] if fits_argv(files) else [Unread(path, why) for path in files if not _is_line(path)]
        return ok(self.name, version, output, findings=findings, unread=unread, files=files, lines=lines)


def _is_line(name: str) -> bool:
    return is_utf8(name) and len(name.splitlines()) == 1


def _entries(stdout: bytes) -> list[dict[str, Any]]:
    """The objects that it printed, a line each. ValueError for anything else."""
    entries = [json.loads(line) for line in stdout.splitlines() if line.strip()]
    if not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("not a list of objects")
    return entries


def _finding(entry: dict[str, Any], names: Names) -> Finding:
    code, hint = text(entry.get("code")), text(entry.get("hint"))
    severity = text(entry.get("severity"))
    line, column = count(entry.get("line")), entry.get("column")
    return Finding(
        tool=Mypy.name,
        rule=code or severity or "unknown",
        level=LEVELS.get(severity, Level.ERROR),
        message=text(entry["message"]) + (f"\n{hint}" if hint else ""),
        path=names.path(text(entry["file"])),
        line=line,
        column=_from_one(column) if line else 0,
        end_line=count(entry.get("end_line")),
        end_column=_from_one(entry.get("end_column")) if line else 0,
        help_uri=f"{HELP}{code}" if code else "",
    )


def _from_one(column: object) -> int:
    """In its JSON columns count from 0, its text from 1; -1 is unknown."""
    return count(column + 1) if isinstance(column, int) else 0


def _last_errors(stdout: bytes) -> Iterator[dict[str, Any]]:
    """The entries that can have ended a run: errors without a code, and syntax errors."""
    try:
        entries = _entries(stdout)
    except (ValueError, RecursionError):
        return
    for entry in entries:
        if entry.get("severity") == "error" and entry.get("code") in (None, "syntax"):
            yield entry


def _blocked_by(entry: dict[str, Any], names: Names, files: Sequence[str], root: Path) -> Sequence[Unread]:
    path, message = names.bare(text(entry.get("file"))), text(entry.get("message"))
    if shadow := SHADOW.match(message):
        return Modules(root).beside_shadow(files, shadow=path, module=shadow[1], why=f"{path}: {message}")
    known = names.find(path)
    if known is None:
        return ()
    line = count(entry.get("line"))
    named = Unread(known, f"line {line}: {message}" if line else message)
    return (*Modules(root).duplicates(files), named) if message.startswith(DUPLICATE) else (named,)


def _named_on_stderr(output: Records, names: Names) -> Iterator[Unread]:
    for candidates in output:
        for record in candidates:
            found = UNREADABLE.fullmatch(record) or BROKE.fullmatch(record)
            path = names.find(found["name"]) if found else None
            if found and path is not None:
                yield Unread(path, found["why"])
                break


def _why_stopped(stdout: bytes) -> str:
    for entry in reversed(list(_last_errors(stdout))):
        message = text(entry.get("message"))
        hint = " (scan the folder above, or leave that file out of the tree)" if SHADOW.match(message) else ""
        return f"stopped at {text(entry.get('file'))}: {message}{hint}"
    return ""
