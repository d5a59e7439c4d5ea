"""Reports that the tests put together."""

from __future__ import annotations

from mahavishnu_operator.api.reasons import Level
from mahavishnu_operator.scan.model import Finding, Outcome, ToolReport, Unread


def finding(
    tool: str = "ruff",
    level: Level = Level.ERROR,
    path: str = "a.py",
    line: int = 1,
    *,
    rule: str = "R1",
    message: str = "m",
) -> Finding:
    """A finding whose fingerprint tells it from others."""
    mark = f"{tool}-{rule}-{path}-{line}"
    return Finding(tool, rule, level, message, path, line=line, fingerprint=mark)


def report(
    tool: str = "ruff",
    *findings: Finding,
    outcome: Outcome = "ok",
    version: str = "1.0",
    files: int = 1,
    message: str = "",
    exit_code: int | None = 0,
    unread: tuple[Unread, ...] = (),
    seconds: float = 0.5,
) -> ToolReport:
    """A report of one bin."""
    return ToolReport(tool, version, outcome, findings, unread, files, message, exit_code, seconds)
