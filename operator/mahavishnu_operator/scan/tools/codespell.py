"""codespell: common misspellings in any text file.

Exit codes (2.4): 0 nothing found, and also for files that are missing or that it could not open; 65
findings; 2 or 64 it did not look. Its output is text, `path:line: word ==> fix`. So existence is checked
here, and its warnings on stderr are read: a binary file or a missing permission is unread. A file that is
not UTF-8 it reads as Latin-1 and says so: that one was looked at.
It has no output that survives every file name, so names are matched against those that it was given.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mahavishnu_operator.api.reasons import Level
from mahavishnu_operator.scan.model import Finding, ToolReport, Unread

from .codespell_config import read_settings
from .common import Counted, Names, SourceLines, as_arguments, crashed, ok
from .protocol import Cost, ToolOutput
from .records import Records

FINDINGS = 65
MAX_LINE_DIGITS = 9
WARNING = re.compile(r"WARNING: (?P<why>Binary file|Permission denied): (?P<name>.+)", re.DOTALL)
NEVER_TEXT = (  # formats that have a NUL in front, by which codespell itself tells a binary file
    *(".png", ".ico", ".jpg", ".jpeg", ".zip", ".whl", ".jar", ".docx", ".xlsx", ".pptx", ".odt"),
    *(".pyc", ".so", ".o", ".a", ".exe", ".dll", ".dylib", ".class", ".wasm"),
    *(".sqlite", ".sqlite3", ".ttf", ".otf", ".woff", ".woff2", ".mp4", ".webm", ".mo"),
)
REFUSE_TO_WRITE = ("--regex", r"[\w\-'’]+")  # codespell exits 64 when this meets --write-changes, before it reads


class Codespell:
    """The adapter; holds no state."""

    name = "codespell"
    information_uri = "https://github.com/codespell-project/codespell"
    whole_program = False
    default = True
    report_file = ""
    cost = Cost(startup_seconds=0.12, per_file_seconds=0.0006, memory_mib=31)

    def selects(self, path: str) -> bool:
        """Everything but names of binary formats; codespell leaves hidden files out itself."""
        return not path.lower().endswith(NEVER_TEXT)

    def version_command(self) -> tuple[str, ...]:
        """`codespell --version`."""
        return ("codespell", "--version")

    def parse_version(self, stdout: bytes) -> str:
        """The version is all it prints."""
        found = re.match(rb"\s*(\d[\w.+-]*)\s*$", stdout)
        return found[1].decode() if found else ""

    def command(self, files: Sequence[str], *, scratch: Path, root: Path) -> tuple[str, ...]:
        """Configuration comes from the root. Where it would make codespell change files, codespell refuses."""
        guard = REFUSE_TO_WRITE if read_settings(root).writes else ()
        return ("codespell", "--disable-colors", "--interactive", "0", *guard, "--", *as_arguments(files))

    def parse(self, output: ToolOutput, *, files: Sequence[str], root: Path, version: str) -> ToolReport:
        """Findings from stdout, unread files from stderr and from what is not there."""
        settings = read_settings(root)
        if output.exit_code not in (0, FINDINGS):
            why = "its configuration here asks it to change files, which a scan does not do" if settings.writes else ""
            return crashed(self.name, version, output, files=files, why=why)
        names, lines = Names(files, root), SourceLines(files, root)
        found = Counted(_findings(Records(output.stdout, files), names))
        unread = [
            *_unopened(Records(output.stderr, files), names),
            *(Unread(path, "no such file when the tool had run") for path in files if not _exists(root, path)),
        ]
        findings = (each for each in found if not settings.leaves_out(each.path))
        report = ok(self.name, version, output, findings=findings, unread=unread, files=files, lines=lines)
        if (output.exit_code == FINDINGS) != bool(found.count):
            why = f"printed {found.count} findings that could be understood"
            return crashed(self.name, version, output, files=files, why=why)
        return report


def _findings(output: Records, names: Names) -> Iterator[Finding]:
    for candidates in output:
        found = (_finding(record, names, output.longest_name) for record in candidates)
        if finding := next((each for each in found if each is not None), None):
            yield finding


def _finding(record: str, names: Names, longest_name: int) -> Finding | None:
    """The finding, when the record begins with a file that was given; a name may itself look like `x:1: y`."""
    for colon in re.finditer(": ", record[: longest_name + MAX_LINE_DIGITS + 4]):
        shown, rest = record[: colon.start()], record[colon.end() :]
        name, _, digits = shown.rpartition(":")
        numbered = digits.isascii() and digits.isdigit() and len(digits) <= MAX_LINE_DIGITS
        path = names.find(name) if numbered else names.find(shown)  # without a line: the name itself is misspelt
        if path is not None and " ==> " in rest and "\n" not in rest:
            line = int(digits) if numbered else 0
            return Finding(Codespell.name, "misspelling", Level.WARNING, rest, path, line=line)
    return None


def _unopened(output: Records, names: Names) -> Iterator[Unread]:
    for candidates in output:
        for record in candidates:
            warning = WARNING.fullmatch(record)
            path = names.find(warning["name"]) if warning else None
            if warning and path is not None:
                yield Unread(path, warning["why"].lower())
                break


def _exists(root: Path, path: str) -> bool:
    try:
        os.lstat(root / path)
    except (OSError, ValueError):
        return False
    return True
