"""Merging, counting and the verdict."""

from __future__ import annotations

import pytest

from mahavishnu_operator.api.reasons import Level, Verdict
from mahavishnu_operator.scan.model import Unread
from mahavishnu_operator.scan.report import compare, decide_verdict, merge_reports, no_answer, problems_of, summarize

from .reports import finding, report


def test_bins_of_a_tool_become_one_report_in_order_of_position() -> None:
    late, early = finding(path="b.py"), finding(path="a.py", line=3)
    merged = merge_reports(
        [report("ruff", late, files=3), report("bandit"), report("ruff", early, files=2, exit_code=1)]
    )
    assert [each.tool for each in merged] == ["bandit", "ruff"]
    assert (merged[1].findings, merged[1].files, merged[1].exit_code) == ((early, late), 5, 1)
    assert merged[1].seconds == 1.0


def test_one_bin_without_an_answer_makes_the_tool_incomplete() -> None:
    bad = report("ruff", outcome="crashed", files=4, message="ruff was killed", exit_code=-9)
    (merged,) = merge_reports([report("ruff", finding(), files=2), bad])
    assert (merged.outcome, merged.files, merged.exit_code) == ("crashed", 2, -9)
    assert merged.message == "1 of 2 parts: ruff was killed"
    assert len(merged.findings) == 1


def test_not_installed_outranks_a_crash_and_equal_messages_are_said_once() -> None:
    parts = [report("x", outcome="crashed", message="b"), *[report("x", outcome="not-installed", message="a")] * 3]
    (merged,) = merge_reports(parts)
    assert (merged.outcome, merged.message) == ("not-installed", "a; b")


def test_many_messages_are_counted() -> None:
    (merged,) = merge_reports([report("x", outcome="crashed", message=f"m{n}") for n in range(9)])
    assert merged.message == "m0; m1; m2; m3; m4; and 4 more"


def test_merging_what_was_merged_changes_nothing() -> None:
    once = merge_reports(
        [
            report("ruff", finding(), version="1"),
            report("ruff", version="2", outcome="timed-out", message="late", unread=(Unread("x", "y"),)),
            report("bandit", outcome="not-installed", exit_code=None, files=7),
        ],
        tools=["codespell"],
    )
    assert merge_reports(once) == once
    assert once[2].version == "1, 2"


def test_a_tool_that_had_no_file_to_look_at_is_ok() -> None:
    (merged,) = merge_reports([], tools=["ruff"])
    assert (merged.tool, merged.outcome, merged.files) == ("ruff", "ok", 0)


def test_a_summary_counts_by_level_and_tool() -> None:
    merged = merge_reports(
        [
            report("ruff", finding(), finding(line=2, level=Level.WARNING), files=3),
            report("bandit", finding("bandit", Level.ERROR), files=2, unread=(Unread("x", "syntax"),)),
        ]
    )
    summary = summarize(merged, files=10, cached=4)
    assert summary.total == 3
    assert summary.by_level == {"note": 0, "warning": 1, "error": 2}
    assert summary.by_tool == {"bandit": 1, "ruff": 2}
    assert (summary.files, summary.unread, summary.cached) == (10, 1, 4)
    assert [(tool.tool, tool.findings, tool.files, tool.unread) for tool in summary.tools] == [
        ("bandit", 1, 2, 1),
        ("ruff", 2, 3, 0),
    ]
    assert summary.to_json()["by_level"] == {"note": 0, "warning": 1, "error": 2}


@pytest.mark.parametrize(
    ("levels", "looked", "fail_on", "verdict"),
    [
        ([], True, Level.ERROR, Verdict.PASSED),
        ([], False, Level.ERROR, Verdict.INCOMPLETE),
        ([Level.WARNING], True, Level.ERROR, Verdict.PASSED),
        ([Level.WARNING], False, Level.ERROR, Verdict.INCOMPLETE),
        ([Level.WARNING], True, Level.WARNING, Verdict.FAILED),
        ([Level.ERROR], True, Level.WARNING, Verdict.FAILED),
        ([Level.ERROR], False, Level.ERROR, Verdict.FAILED),
        ([Level.NOTE], True, Level.NOTE, Verdict.FAILED),
        ([Level.ERROR], True, Level.NONE, Verdict.PASSED),
        ([Level.ERROR], False, Level.NONE, Verdict.INCOMPLETE),
    ],
)
def test_the_verdict_measures_findings_and_never_passes_a_blind_tool(
    levels: list[Level], looked: bool, fail_on: Level, verdict: Verdict
) -> None:
    reports = [report("ruff", *(finding(level=level, line=n) for n, level in enumerate(levels, start=1)))]
    if not looked:
        reports.append(no_answer("bandit", outcome="crashed", files=3, message="the worker was lost"))
    assert decide_verdict(summarize(merge_reports(reports)), fail_on) is verdict


def test_a_file_that_was_not_read_does_not_make_a_tool_blind() -> None:
    summary = summarize(merge_reports([report("bandit", files=2, unread=(Unread("a.py", "syntax error"),))]))
    assert decide_verdict(summary, Level.ERROR) is Verdict.PASSED
    assert problems_of(summary) == ()


def test_a_tool_that_could_read_none_of_its_files_did_not_look() -> None:
    blind = report("bandit", files=1, unread=(Unread("a.py", "syntax error"),))
    summary = summarize(merge_reports([blind, report("ruff", files=1)]))
    assert decide_verdict(summary, Level.ERROR) is Verdict.INCOMPLETE
    assert problems_of(summary) == ("bandit could not read its only file: a.py: syntax error",)


def test_a_scan_without_a_file_has_not_looked() -> None:
    summary = summarize(merge_reports([], tools=["bandit", "ruff"]), files=0)
    assert decide_verdict(summary, Level.NONE) is Verdict.INCOMPLETE
    assert "no tool had a file" in problems_of(summary)[0]


def test_a_tool_without_a_file_of_its_kind_spoils_nothing() -> None:
    summary = summarize(merge_reports([report("codespell", files=1)], tools=["bandit", "codespell"]), files=1)
    assert decide_verdict(summary, Level.ERROR) is Verdict.PASSED


def test_new_and_fixed_are_the_two_differences() -> None:
    assert compare(["a", "b"], ["b", "c", "c"]) == (frozenset("c"), frozenset("a"))
