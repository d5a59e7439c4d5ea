"""One answer out of many tool reports: merged by tool, counted, measured against failOn.

The pressure: a gate is only worth something when "no findings" cannot mean "nobody looked". What must stay
true: a tool with one bin unanswered has not looked, whatever the other bins said, nor has one that could read
none of its files, and a scan without a file to look at has not looked at all; findings at or over failOn fail
the job all the same, because they are known; counting is done on merged reports, so that the table, the status
and the SARIF log agree. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from mahavishnu_operator.api.reasons import Level, Verdict
from mahavishnu_operator.support.text import printable

from .bounding import add, bound_reports
from .fingerprints import position
from .model import Outcome, ToolReport

_WORST_LAST: tuple[Outcome, ...] = ("ok", "cancelled", "timed-out", "crashed", "not-installed")
MAX_MESSAGES = 5


@dataclass(frozen=True, slots=True)
class ToolSummary:
    """One tool: `files` it answered for, of them `unread`; `seconds` of all its processes together.

    `message`: empty when it looked, else why not.
    """

    tool: str
    version: str
    outcome: Outcome
    findings: int
    files: int
    unread: int
    seconds: float
    message: str = ""

    @property
    def looked(self) -> bool:
        """It answered, and could read one of its files (or had none)."""
        return self.outcome == "ok" and (self.unread < self.files or not self.files)


@dataclass(frozen=True, slots=True)
class Summary:
    """A scan in numbers. `by_level` has every level that occurs and note, warning and error always."""

    total: int
    by_level: Mapping[str, int]
    by_tool: Mapping[str, int]
    tools: tuple[ToolSummary, ...] = ()
    files: int = 0
    unread: int = 0
    cached: int = 0

    @property
    def all_looked(self) -> bool:
        """Every tool answered for all of its files (an unread file is an answer), and one of them had a file."""
        return all(tool.looked for tool in self.tools) and any(tool.files for tool in self.tools)

    def to_json(self) -> dict[str, Any]:
        """A JSON object with the fields' names."""
        return asdict(self) | {"by_level": dict(self.by_level), "by_tool": dict(self.by_tool)}


def merge_reports(reports: Iterable[ToolReport], *, tools: Sequence[str] = ()) -> tuple[ToolReport, ...]:
    """One report a tool, by name; the worst outcome of its bins is the tool's.

    `tools`: all that were asked for; one without a report had no file to look at and is ok with 0 files.
    Merging what was merged changes nothing.
    """
    grouped: dict[str, list[ToolReport]] = {tool: [] for tool in tools}
    for report in reports:
        grouped.setdefault(report.tool, []).append(report)
    return tuple(_merge(tool, bound_reports(grouped[tool])) for tool in sorted(grouped))


def _merge(tool: str, parts: Sequence[ToolReport]) -> ToolReport:
    if not parts:
        return ToolReport(tool=tool, version="", outcome="ok")
    if len(parts) == 1:
        return replace(parts[0], findings=tuple(sorted(parts[0].findings, key=position)))
    failed = [part for part in parts if part.outcome != "ok"]
    worst = max(parts, key=lambda part: _WORST_LAST.index(part.outcome))
    return ToolReport(
        tool=tool,
        version=", ".join(sorted({part.version for part in parts if part.version})),
        outcome=worst.outcome,
        findings=tuple(sorted((each for part in parts for each in part.findings), key=position)),
        unread=tuple(
            sorted({each for part in parts for each in part.unread}, key=lambda each: (each.path, each.reason))
        ),
        files=sum(part.files for part in parts if part.outcome == "ok"),
        message=_merge_messages(failed, len(parts)),
        exit_code=worst.exit_code if failed else max(part.exit_code or 0 for part in parts),
        seconds=sum(part.seconds for part in parts),
        left_out=add(*(part.left_out for part in parts)),
    )


def _merge_messages(failed: Sequence[ToolReport], parts: int) -> str:
    """Each different message once; how much of the work it is about, when that is not all."""
    messages = list(dict.fromkeys(part.message for part in failed if part.message))
    said = "; ".join(sorted(messages)[:MAX_MESSAGES])
    more = f"; and {len(messages) - MAX_MESSAGES} more" if len(messages) > MAX_MESSAGES else ""
    share = f"{len(failed)} of {parts} parts: " if 0 < len(failed) < parts else ""
    return f"{share}{said}{more}" if said else ""


def no_answer(tool: str, *, outcome: Outcome, files: int, message: str) -> ToolReport:
    """The report for a bin whose worker was lost or whose result cannot be read."""
    return ToolReport(tool=tool, version="", outcome=outcome, files=files, message=message)


def summarize(merged: Sequence[ToolReport], *, files: int | None = None, cached: int = 0) -> Summary:
    """Counts of merged reports. `files` listed by the plan; without it, the most that one tool had."""
    levels = Counter(finding.level for report in merged for finding in report.findings)
    for report in merged:
        levels.update({Level(level): count for level, count in report.left_out.items()})
    always = (Level.NOTE, Level.WARNING, Level.ERROR)
    return Summary(
        total=levels.total(),
        by_level={level.value: levels[level] for level in Level if levels[level] or level in always},
        by_tool={report.tool: count_findings(report) for report in merged},
        tools=tuple(
            ToolSummary(
                tool=report.tool,
                version=report.version,
                outcome=report.outcome,
                findings=count_findings(report),
                files=report.files,
                unread=_unread_files(report),
                seconds=round(report.seconds, 3),
                message=report.message or _why_blind(report),
            )
            for report in merged
        ),
        files=max((report.files for report in merged), default=0) if files is None else files,
        unread=len({each.path for report in merged for each in report.unread}),
        cached=cached,
    )


def count_findings(report: ToolReport) -> int:
    """All it found, also those that are only counted."""
    return len(report.findings) + sum(report.left_out.values())


def _unread_files(report: ToolReport) -> int:
    return len({each.path for each in report.unread})


def _why_blind(report: ToolReport) -> str:
    if report.outcome != "ok" or not report.files or _unread_files(report) < report.files:
        return ""
    first = report.unread[0]
    which = "its only file" if report.files == 1 else f"any of its {report.files} files"
    return f"could not read {which}: {printable(first.path)}: {printable(first.reason)}"


def problems_of(summary: Summary) -> tuple[str, ...]:
    """One line for each tool that did not look at all it was given; or that no tool was given anything."""
    if summary.tools and not any(tool.files or tool.outcome != "ok" for tool in summary.tools):
        return ("no tool had a file to look at: the source holds none for them, or include and exclude leave none",)
    return tuple(
        f"{tool.tool} {tool.message}" if tool.outcome == "ok" else f"{tool.tool} {tool.outcome}: {tool.message}"
        for tool in summary.tools
        if not tool.looked
    )


def decide_verdict(summary: Summary, fail_on: Level) -> Verdict:
    """Failed: a finding at or over fail_on. Incomplete: none, but some tool did not look. Else Passed.

    fail_on none: no finding ever fails a job; a tool that did not look still leaves it incomplete.
    """
    over = [level for level in Level if fail_on is not Level.NONE and level.rank >= fail_on.rank]
    if any(summary.by_level.get(level.value, 0) for level in over):
        return Verdict.FAILED
    return Verdict.PASSED if summary.all_looked else Verdict.INCOMPLETE


def compare(old: Iterable[str], new: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Fingerprints that are new, and those that are fixed.

    Give it findings of tools that looked both times: what nobody looked for is not fixed.
    """
    before, after = frozenset(old), frozenset(new)
    return after - before, before - after
