from __future__ import annotations

from mahavishnu_operator.api.reasons import Level, Verdict
from mahavishnu_operator.scan.bounding import MAX_MESSAGE, bound_reports, keep_worst
from mahavishnu_operator.scan.model import Finding, ToolReport, decode_tool_report, encode
from mahavishnu_operator.scan.report import decide_verdict, merge_reports, summarize
from mahavishnu_operator.scan.sarif import make_log


def findings(level: Level, count: int, *, tool: str = "ruff") -> list[Finding]:
    return [Finding(tool, "R", level, f"m{n}", "a.py", line=n + 1) for n in range(count)]


def test_the_worst_are_kept_whenever_they_come_and_the_rest_is_counted_by_level() -> None:
    flood = [*findings(Level.NOTE, 25), *findings(Level.ERROR, 3), *findings(Level.WARNING, 25)]
    kept, left_out = keep_worst(iter(flood), 10)
    assert [each.level for each in kept] == [Level.ERROR] * 3 + [Level.WARNING] * 7
    assert left_out == {"note": 25, "warning": 18}


def test_what_is_within_the_bound_stays_as_it_is() -> None:
    few = findings(Level.NOTE, 10)
    assert keep_worst(few, 10) == (few, {})


def test_a_message_of_any_length_is_cut() -> None:
    ((kept,), _) = keep_worst([Finding("ruff", "R", Level.NOTE, "x" * 1_000_000, "a.py")])
    assert len(kept.message) == MAX_MESSAGE


def test_bins_share_the_bound_of_their_tool_and_other_tools_keep_theirs() -> None:
    reports = [
        ToolReport("ruff", "1", "ok", findings=tuple(findings(Level.NOTE, 8)), left_out={"note": 5}),
        ToolReport("ruff", "1", "ok", findings=tuple(findings(Level.ERROR, 8))),
        ToolReport("bandit", "1", "ok", findings=tuple(findings(Level.NOTE, 8, tool="bandit"))),
    ]
    bounded = bound_reports(reports, 10)
    assert [len(each.findings) for each in bounded] == [2, 8, 8]
    assert [each.left_out for each in bounded] == [{"note": 11}, {}, {}]


def test_counts_and_verdict_are_those_of_all_findings() -> None:
    report = ToolReport("ruff", "1", "ok", findings=tuple(findings(Level.WARNING, 2)), files=1, left_out={"note": 7})
    (merged,) = merge_reports([decode_tool_report(encode(report))])
    summary = summarize([merged])
    assert (summary.total, summary.by_level["note"], summary.by_tool) == (9, 7, {"ruff": 9})
    assert decide_verdict(summary, Level.WARNING) is Verdict.FAILED
    assert decide_verdict(summary, Level.ERROR) is Verdict.PASSED


def test_a_report_that_lists_not_all_says_so() -> None:
    report = ToolReport("ruff", "1", "ok", findings=tuple(findings(Level.NOTE, 2)), files=1, left_out={"note": 7})
    (run,) = make_log([report])["runs"]
    (said,) = run["invocations"][0]["toolExecutionNotifications"]
    assert said["descriptor"]["id"] == "report-truncated"
    assert said["message"]["text"].startswith("7 of 9 results")
