"""What single results say, for status and report: pure.

What must stay true: a task without a readable answer is reported by name, with its reason; nothing here raises on
what a worker delivered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mahavishnu_operator.api.wire import TaskResult
from mahavishnu_operator.scan.model import Outcome, ToolReport, decode_tool_report

from .conditions import shorten

SHORT = 200  # characters of a message among others


def tool_report(task: str, result: TaskResult, payload: bytes | None) -> ToolReport:
    """What a scan task said; when it said nothing that can be read, a report that says so in its place."""
    if payload:
        try:
            return decode_tool_report(payload)
        except (ValueError, KeyError, TypeError, AttributeError):
            return _no_answer(task, "crashed", f"task {task}: its answer cannot be read")
    why = result.message or result.reason or result.status
    if result.status == "cancelled":  # one sentence for all of a tool's tasks, however many
        return _no_answer(task, "cancelled", why)
    return _no_answer(task, "timed-out" if result.status == "timed-out" else "crashed", f"task {task}: {why}")


def _no_answer(task: str, outcome: Outcome, message: str) -> ToolReport:
    return ToolReport(tool=task.rpartition("-")[0] or task, version="", outcome=outcome, message=shorten(message))


def command_problems(results: Sequence[tuple[str, TaskResult]]) -> tuple[str, ...]:
    """One line for each command that did not succeed."""
    lines = []
    for task, result in results:
        if result.status == "succeeded":
            continue
        how = f"exit code {result.exit_code}" if result.exit_code else result.reason or result.status
        words = shorten(result.message, SHORT)
        lines.append(f"{task}: {how}, {words}" if words and words != how else f"{task}: {how}")
    return tuple(lines)


def task_outcome(task: str, result: TaskResult) -> dict[str, Any]:
    """One entry of status.results."""
    entry: dict[str, Any] = {"id": task, "status": result.status}
    if result.reason:
        entry["reason"] = shorten(result.reason, SHORT)
    if result.exit_code is not None:
        entry["exitCode"] = result.exit_code
    if result.message:
        entry["message"] = shorten(result.message, SHORT)
    return entry


def plan_problem(result: TaskResult | None) -> str:
    """Why there is no plan, in the worker's words."""
    if result is None:
        return "the plan has no result"
    return shorten(f"{result.reason or result.status}: {result.message or 'no message'}")
