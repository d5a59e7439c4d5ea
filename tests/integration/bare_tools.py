"""Each tool as a person runs it over a folder: once, and read from another output than our parsers read."""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mahavishnu_operator.scan.tools.protocol import ToolOutput

from . import scan_tools

Row = tuple[str, str, int, int, str]  # rule, path, line, column, message
MYPY_FLAGS = ("--config-file=", "--follow-imports=silent", "--ignore-missing-imports", "--no-site-packages")
MYPY_LINE = re.compile(r"(.+?):(-?\d+):(?:(\d+):)? (error|note): (.*?)(?:  \[([\w-]+)\])?")
VULTURE_LINE = re.compile(r"(.+?):(\d+): ((\w+) '?(\w+).*)")
GITLAB = re.compile(r"Function '(.+)' has cognitive complexity (\d+) \(max allowed: (\d+)\)\.")


@dataclass(frozen=True)
class Bare:
    """What a tool found, and which files it named as not understood (for tools that do)."""

    found: Counter[Row]
    unread: frozenset[str]


def start(command: Sequence[str], *, root: Path, scratch: Path) -> ToolOutput:
    """One run of a bare tool, which may take minutes."""
    return scan_tools.start(command, root=root, scratch=scratch, deadline=900.0)


def bare_bandit(root: Path, scratch: Path, unread: Iterable[str]) -> Bare:
    """Its CSV has no files that it did not understand: they are those that do not parse."""
    ran = start(("bandit", "-q", "-r", "-f", "csv", "."), root=root, scratch=scratch)
    found: Counter[Row] = Counter()
    for row in csv.DictReader(ran.stdout.decode().splitlines(keepends=True)):
        path, line = os.path.normpath(row["filename"]), int(row["line_number"])
        column = _column(root / path, line, int(row["col_offset"]))
        found[row["test_id"], path, line, column, row["issue_text"]] += 1
    return Bare(found, frozenset(unread))


def _column(file: Path, line: int, byte_offset: int) -> int:
    return len(file.read_bytes().splitlines()[line - 1][:byte_offset].decode("utf-8", "replace")) + 1


def bare_codespell(root: Path, scratch: Path, unread: Iterable[str]) -> Bare:
    lines = start(("codespell",), root=root, scratch=scratch).stdout.decode().splitlines()
    rows = [line.split(":", 2) for line in lines]
    found = Counter(("misspelling", os.path.normpath(path), int(line), 0, words.strip()) for path, line, words in rows)
    return Bare(found, frozenset())


def bare_complexipy(root: Path, scratch: Path, unread: Iterable[str]) -> Bare:
    report = scratch / "bare.json"
    where = ("--output", str(report), "--cache-dir", str(scratch / "bare-cache"))
    ran = start(
        ("complexipy", "--isolated", "-q", "--output-format", "gitlab", *where, "."), root=root, scratch=scratch
    )
    found: Counter[Row] = Counter()
    for entry in json.loads(report.read_text()):
        function = GITLAB.fullmatch(entry["description"])
        assert function is not None
        name, complexity, limit = function.groups()
        words = f"Function '{name}' has a cognitive complexity of {complexity}, "
        words += f"which exceeds the maximum allowed complexity of {limit}."
        found["cognitive-complexity", entry["location"]["path"], entry["location"]["lines"]["begin"], 0, words] += 1
    failed = re.findall(r"Failed to process (.+) - Please", ran.stdout.decode())
    return Bare(found, frozenset(os.path.relpath(path, root.resolve()) for path in failed))


def bare_mypy(root: Path, scratch: Path, unread: Iterable[str]) -> Bare:
    """It would stop at what it cannot read, so that is excluded; by hand, as its user would."""
    excludes = [part for path in unread for part in ("--exclude", f"^{re.escape(path)}$")]
    flags = (*MYPY_FLAGS, "--show-column-numbers", "--no-error-summary", "--cache-dir", str(scratch / "bare-cache"))
    ran = start(("mypy", *flags, *excludes, "."), root=root, scratch=scratch)
    assert ran.exit_code == 1, ran.stderr
    found: Counter[Row] = Counter()
    for line in ran.stdout.decode().splitlines():
        row = MYPY_LINE.fullmatch(line)
        assert row is not None, line
        path, number, column, severity, words, code = row.groups()
        if severity == "error":
            found[code or severity, path, int(number), int(column or 0), words] += 1
    return Bare(found, frozenset(unread))


def bare_ruff(root: Path, scratch: Path, unread: Iterable[str]) -> Bare:
    ran = start(("ruff", "check", "--no-cache", "--output-format", "rdjson", "."), root=root, scratch=scratch)
    found: Counter[Row] = Counter()
    missed = set()
    for entry in json.loads(ran.stdout)["diagnostics"]:
        path, begin = os.path.relpath(entry["location"]["path"], root.resolve()), entry["location"]["range"]["start"]
        if entry["code"]["value"] == "E902":
            missed.add(path)
        else:
            found[entry["code"]["value"], path, begin["line"], begin["column"], entry["message"]] += 1
    return Bare(found, frozenset(missed))


def bare_vulture(root: Path, scratch: Path, unread: Iterable[str]) -> Bare:
    ran = start(("vulture", "."), root=root, scratch=scratch)
    found: Counter[Row] = Counter()
    for line in ran.stdout.decode().splitlines():
        row = VULTURE_LINE.fullmatch(line)
        assert row is not None, line
        path, number, words, first, kind = row.groups()
        found[f"unused-{kind}" if first == "unused" else "unreachable-code", path, int(number), 0, words] += 1
    log = ran.stderr.decode()
    missed = re.findall(r"^Error: Could not read file (.+) - $", log, re.MULTILINE)
    missed += [str(root.resolve() / path) for path in re.findall(r"^(.+?\.py):\d+: ", log, re.MULTILINE)]
    return Bare(found, frozenset(os.path.relpath(path, root.resolve()) for path in missed))


BARE: dict[str, Callable[[Path, Path, Iterable[str]], Bare]] = {
    "bandit": bare_bandit,
    "codespell": bare_codespell,
    "complexipy": bare_complexipy,
    "mypy": bare_mypy,
    "ruff": bare_ruff,
    "vulture": bare_vulture,
}
