"""Findings, tool reports and plans: what workers send and the report is made of.

Paths are relative POSIX paths of the scanned tree held as str by os.fsdecode, so a name that is not
UTF-8 survives (surrogateescape); `encode` writes JSON in ASCII so that such names pass through it.
Three answers are kept apart on purpose: a clean tool (outcome ok, no findings), a tool with findings
(outcome ok) and a tool that did not look (any other outcome): exit codes alone never tell.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import msgspec

from mahavishnu_operator.api.reasons import Level

T = TypeVar("T")
ListedBy = Literal["git", "walk", "archive"]
Outcome = Literal["ok", "crashed", "timed-out", "not-installed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One defect. Lines and columns count from 1; 0 means unknown. `fingerprint` is stable across line shifts."""

    tool: str
    rule: str
    level: Level
    message: str
    path: str
    line: int = 0
    column: int = 0
    end_line: int = 0
    end_column: int = 0
    help_uri: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Unread:
    """A file that a tool was given and did not understand or find."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class ToolReport:
    """What one run of one tool over one bin of files said."""

    tool: str
    version: str
    outcome: Outcome
    findings: tuple[Finding, ...] = ()
    unread: tuple[Unread, ...] = ()
    files: int = 0
    message: str = ""  # for every outcome but ok: what happened, in words
    exit_code: int | None = None
    seconds: float = 0.0
    left_out: dict[str, int] = field(default_factory=dict)  # findings that are only counted, by level (bounding.py)


@dataclass(frozen=True, slots=True)
class Shard:
    """A unit of leasing: one tool over one bin of files. `files_sha256` names the blob of NUL-ended paths."""

    id: str  # deterministic: `<tool>-<number>`
    tool: str
    files_sha256: str
    file_count: int
    bytes: int
    cost_seconds: float  # estimate; larger is leased first


@dataclass(frozen=True, slots=True)
class Origin:
    """What a tree was made from, by content: full commits, or the digest of an archive; empty: not known."""

    commit: str = ""
    base_commit: str = ""
    archive_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """All shards of a scan, costliest first, and what was left out."""

    shards: tuple[Shard, ...]
    file_count: int
    total_bytes: int
    listed_by: ListedBy
    skipped: tuple[Unread, ...] = ()  # unreadable, too large, not a regular file
    origin: Origin | None = None  # None: the files of a folder, which may change


def encode(value: ToolReport | Plan) -> str:
    """JSON text in ASCII."""
    return json.dumps(msgspec.to_builtins(value), ensure_ascii=True, separators=(",", ":"))


def decode_tool_report(text: str | bytes) -> ToolReport:
    """The inverse of encode. ValueError on anything else: a worker stands next to hostile code."""
    return decode(text, ToolReport)


def decode_plan(text: str | bytes) -> Plan:
    """The inverse of encode. ValueError on anything else."""
    return decode(text, Plan)


def decode(text: str | bytes, kind: type[T]) -> T:
    """Parsed by json and checked by msgspec, whose own parser refuses names that are not UTF-8. ValueError."""
    try:
        return msgspec.convert(json.loads(text, parse_constant=_refuse), kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ValueError(f"not a {kind.__name__}: {error}") from None


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number of JSON")
