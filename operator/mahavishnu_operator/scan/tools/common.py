"""What the parsers of all tools share: names as tools print them, source lines, and answers for a crash.

The pressure: a tool's output is made from hostile files, and each tool prints an odd name its own way
(absolute, with `./` in front, undecodable bytes replaced). What must stay true: only files that the tool was
given are ever opened, and no link is followed; nothing here raises on what a tool printed.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mahavishnu_operator.scan.bounding import keep_worst
from mahavishnu_operator.scan.fingerprints import with_fingerprints
from mahavishnu_operator.scan.model import Finding, ToolReport, Unread

from .protocol import ToolOutput

MAX_SOURCE_BYTES = 32 * 1024 * 1024
MAX_ARGV_BYTES = 512 * 1024  # of all files of a run; Linux stops at 2 MiB with the environment
ARGV_OVERHEAD = 11  # a file: `./`, the ending NUL and a pointer
WORDS_OF_A_CRASH = 600


def as_arguments(files: Iterable[str]) -> tuple[str, ...]:
    """The files so that none can be an option, `-` for standard input, or a package."""
    return tuple(f"./{path}" for path in files)


def fits_argv(files: Iterable[str]) -> bool:
    """Whether a command line takes them all."""
    return sum(len(os.fsencode(path)) + ARGV_OVERHEAD for path in files) <= MAX_ARGV_BYTES


def is_utf8(path: str) -> bool:
    """Whether the name's bytes are."""
    return _lossy(path) == path


class Names:
    """From a name as a tool printed it back to the path that it was given."""

    def __init__(self, files: Sequence[str], root: Path) -> None:
        self._prefixes = (f"{os.path.realpath(root)}/", f"{root}/")
        self._known = {_lossy(path): path for path in files} | {path: path for path in files}

    def find(self, shown: str) -> str | None:
        """The path, or None when the tool was not given such a file."""
        bare = self.bare(shown)
        return self._known.get(bare) or self._known.get(_lossy(bare))

    def path(self, shown: str) -> str:
        """The path it was given, else the name as printed, relative where it lies under the root."""
        return self.find(shown) or self.bare(shown)

    def bare(self, shown: str) -> str:
        """The name without the root and without `./` in front."""
        for prefix in self._prefixes:
            shown = shown.removeprefix(prefix)
        while shown.startswith("./"):
            shown = shown[2:].lstrip("/")
        return shown


def _lossy(path: str) -> str:
    """As tools print a name that is not UTF-8, when they replace what they cannot decode."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if not path.isascii() else path


class SourceLines:
    """Lines of the files a tool was given, read when asked for; the last file stays in memory."""

    def __init__(self, files: Sequence[str], root: Path) -> None:
        self._files, self._root = frozenset(files), root
        self._path, self._lines = "", list[bytes]()

    def text(self, path: str, line: int) -> bytes | None:
        """The bytes of that line (from 1); None when there is no such file or line."""
        if path != self._path:
            self._path, self._lines = path, self._read(path) if path in self._files else []
        return self._lines[line - 1] if 0 < line <= len(self._lines) else None

    def column(self, path: str, line: int, byte_offset: int) -> int:
        """The column (from 1, in characters) of a byte offset in a UTF-8 line, as Python's ast counts."""
        raw = self.text(path, line)
        return byte_offset + 1 if raw is None else len(raw[:byte_offset].decode("utf-8", "replace")) + 1

    def _read(self, path: str) -> list[bytes]:
        try:
            return read_regular(self._root / path, MAX_SOURCE_BYTES).splitlines()
        except OSError:
            return []  # gone, or no permission: the message stands in for the line


def read_regular(path: Path, most: int) -> bytes:
    """The first `most` bytes of a regular file. OSError for a link and for anything else that is none."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return file.read(most)


def not_utf8(files: Iterable[str], *, tool: str) -> tuple[Unread, ...]:
    """The files whose names are not UTF-8, for a tool that stops at such a name."""
    why = f"{tool} takes no name that is not UTF-8"
    return tuple(Unread(path, why) for path in files if not is_utf8(path))


class Counted:
    """Findings as they are read, and how many there were: a flood is never all in memory."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self._findings = findings
        self.count = 0

    def __iter__(self) -> Iterator[Finding]:
        for finding in self._findings:
            self.count += 1
            yield finding


def ok(
    tool: str,
    version: str,
    output: ToolOutput,
    *,
    findings: Iterable[Finding],
    unread: Iterable[Unread],
    files: Sequence[str],
    lines: SourceLines,
) -> ToolReport:
    """The report of a tool that looked."""
    kept, left_out = keep_worst(findings)
    return ToolReport(
        tool=tool,
        version=version,
        outcome="ok",
        findings=with_fingerprints(kept, lines.text),
        unread=tuple(sorted(set(unread), key=lambda each: (os.fsencode(each.path), each.reason))),
        files=len(files),
        exit_code=output.exit_code,
        seconds=output.seconds,
        left_out=left_out,
    )


def crashed(tool: str, version: str, output: ToolOutput, *, files: Sequence[str], why: str = "") -> ToolReport:
    """The report of a tool that did not look: how its process ended, and its own last words."""
    code = output.exit_code
    ended = f"was killed by signal {-code} ({_signal_name(-code)})" if code < 0 else f"ended with exit code {code}"
    words = " ".join(output.stderr[-8192:].decode("utf-8", "replace").split())[:WORDS_OF_A_CRASH]
    return ToolReport(
        tool=tool,
        version=version,
        outcome="crashed",
        files=len(files),
        message=f"{tool} {ended}" + (f" and {why}" if why else "") + (f": {words}" if words else ""),
        exit_code=code,
        seconds=output.seconds,
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def text(value: object) -> str:
    """A JSON value as text; '' for null."""
    return "" if value is None else str(value)


def count(value: object) -> int:
    """A JSON value as a number >= 0 for lines and columns; 0 (unknown) for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else 0
