"""A bound on findings: of a flood the worst are kept, the rest is counted.

The pressure: one text file of 30 MB can hold a million misspellings, and each costs kilobytes on its way through
worker, dispatcher and report; yet the verdict must stay right. What must stay true: the worst levels are kept first,
so a finding at or over failOn is never lost while a lesser one stays; counts are of all findings, by level; memory
is bounded while a flood is being read, not only afterwards. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from .fingerprints import position
from .model import Finding, ToolReport

MAX_FINDINGS = 50_000  # kept of one tool, in a bin and in the report: 150 MB at the 3 KB that each takes at the end
MAX_MESSAGE = 4096  # characters; a tool may quote a whole line


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """By level, worst first, then by position."""
    return sorted(findings, key=_badness)


def _badness(finding: Finding) -> tuple[int, str, tuple[bytes, int, int, str, str]]:
    return -finding.level.rank, finding.tool, position(finding)


def keep_worst(findings: Iterable[Finding], most: int = MAX_FINDINGS) -> tuple[list[Finding], dict[str, int]]:
    """At most so many findings, and how many of each level were left out."""
    kept: list[Finding] = []
    left_out: Counter[str] = Counter()
    for finding in findings:
        kept.append(_shortened(finding))
        if len(kept) == 2 * most:
            kept = _cut(kept, most, left_out)
    return (_cut(kept, most, left_out) if len(kept) > most else kept), dict(left_out)


def _cut(findings: list[Finding], most: int, left_out: Counter[str]) -> list[Finding]:
    ordered = worst_first(findings)
    left_out.update(finding.level.value for finding in ordered[most:])
    return ordered[:most]


def _shortened(finding: Finding) -> Finding:
    if len(finding.message) <= MAX_MESSAGE:
        return finding
    return replace(finding, message=f"{finding.message[: MAX_MESSAGE - 4]} ...")


def bound_reports(reports: Sequence[ToolReport], most: int = MAX_FINDINGS) -> list[ToolReport]:
    """The reports with at most so many findings of each tool, the worst of all its reports."""
    total = Counter[str]()
    for report in reports:
        total[report.tool] += len(report.findings)
    over = {tool for tool, count in total.items() if count > most}
    kept = {tool: _ids_of_worst([r for r in reports if r.tool == tool], most) for tool in over}
    return [_only(report, kept[report.tool]) if report.tool in over else report for report in reports]


def _ids_of_worst(reports: Sequence[ToolReport], most: int) -> frozenset[int]:
    return frozenset(map(id, worst_first(finding for report in reports for finding in report.findings)[:most]))


def _only(report: ToolReport, kept: frozenset[int]) -> ToolReport:
    lost = Counter(finding.level.value for finding in report.findings if id(finding) not in kept)
    findings = tuple(finding for finding in report.findings if id(finding) in kept)
    return replace(report, findings=findings, left_out=add(report.left_out, lost))


def add(*counts: Mapping[str, int]) -> dict[str, int]:
    """Counts by level, added up."""
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)
