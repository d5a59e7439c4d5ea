from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mahavishnu_operator.api.reasons import Level, Verdict
from mahavishnu_operator.api.scanjob import Scan
from mahavishnu_operator.api.wire import TaskResult
from mahavishnu_operator.control.reporting import build_report
from mahavishnu_operator.control.results import command_problems, plan_problem, task_outcome, tool_report
from mahavishnu_operator.scan.model import Finding, Plan, ToolReport, Unread, encode


def result(status: Any = "succeeded", **fields: Any) -> TaskResult:
    return TaskResult(task="uid/ruff-0001", attempt=1, status=status, **fields)


def finding(level: Level = Level.ERROR) -> Finding:
    return Finding("ruff", "F821", level, "undefined name", "a.py", line=3, fingerprint="f" * 32)


def report(**fields: Any) -> ToolReport:
    usual: dict[str, Any] = {"tool": "ruff", "version": "1", "outcome": "ok", "files": 2}
    return ToolReport(**(usual | fields))


SCAN = Scan.model_validate({"tools": ["ruff", "bandit"]})
PLAN = Plan(shards=(), file_count=9, total_bytes=1, listed_by="git", skipped=(Unread("big.bin", "too large"),))


def test_an_answer_is_read() -> None:
    said = report(findings=(finding(),))
    assert tool_report("ruff-0001", result(), encode(said).encode()) == said


@given(st.binary(max_size=64) | st.sampled_from([b"[]", b"null", b"{}", b'{"findings": 3}', b'{"findings": [{}]}']))
def test_an_answer_that_cannot_be_read_is_a_tool_that_did_not_look(payload: bytes) -> None:
    assert tool_report("ruff-0001", result(), payload).outcome == "crashed"


def test_a_task_without_an_answer_is_named_with_its_reason() -> None:
    lost = tool_report("ruff-0001", result("failed", reason="WorkerLost", message="its worker died 5 times"), None)
    assert (lost.tool, lost.outcome) == ("ruff", "crashed")
    assert "ruff-0001" in lost.message
    assert "died 5 times" in lost.message


def test_a_cancelled_task_is_cancelled_and_a_late_one_timed_out() -> None:
    assert tool_report("ruff-0001", result("cancelled"), None).outcome == "cancelled"
    assert tool_report("ruff-0001", result("timed-out"), None).outcome == "timed-out"


def test_commands_are_named_with_exit_code_or_reason() -> None:
    results = [
        ("a", result()),
        ("b", result("failed", exit_code=3)),
        ("c", result("timed-out", reason="TimedOut", message="after 5 s")),
    ]
    assert command_problems(results) == ("b: exit code 3", "c: TimedOut, after 5 s")


def test_an_outcome_is_short() -> None:
    entry = task_outcome("a", result("failed", reason="ExitCode", exit_code=2, message="x" * 9999))
    assert (entry["id"], entry["status"], entry["exitCode"]) == ("a", "failed", 2)
    assert len(entry["message"]) <= 200


def test_a_plan_that_is_missing_is_said_in_the_workers_words() -> None:
    assert "no such folder" in plan_problem(result("refused", reason="SourceUnreadable", message="no such folder"))
    assert plan_problem(None) == "the plan has no result"


def test_verdict_counts_and_log_agree() -> None:
    built = build_report([report(findings=(finding(), finding(Level.NOTE)))], PLAN, job="default/job", scan=SCAN)
    assert built.verdict is Verdict.FAILED
    assert built.findings["total"] == built.sarif.count(b'"ruleId"') == 2
    assert built.findings["byTool"] == {"ruff": 2, "bandit": 0}
    assert b"big.bin" in built.sarif


def test_a_tool_that_did_not_look_is_a_problem_and_no_pass() -> None:
    crashed = report(tool="bandit", outcome="not-installed", message="bandit is not installed")
    built = build_report([report(), crashed], PLAN, job="default/job", scan=SCAN)
    assert built.verdict is Verdict.INCOMPLETE
    assert built.problems == ("bandit not-installed: bandit is not installed",)


def test_the_same_answers_give_the_same_report() -> None:
    said = [report(findings=(finding(),)), report(tool="bandit")]
    first = build_report(said, PLAN, job="default/job", scan=SCAN)
    assert build_report(list(reversed(said)), PLAN, job="default/job", scan=SCAN) == first
