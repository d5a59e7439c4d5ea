from __future__ import annotations

from typing import Any

import pytest

from mahavishnu_operator.api.answers import TaskAnswer
from mahavishnu_operator.client import Job
from mahavishnu_operator.mcp_gateway.shapes import executed, failure, worker_id


def a_job(phase: str, reason: str = "", message: str = "") -> Job:
    condition = {"type": "Ready", "status": "False", "reason": reason, "message": message}
    status = {"phase": phase, "pool": "ns/p", "conditions": [condition], "completionTime": "2026-11-28T02:03:04+02:00"}
    meta = {"name": "run-1", "namespace": "ns", "uid": "1", "creationTimestamp": "2026-11-28T00:00:00Z"}
    return Job.of({"metadata": meta, "spec": {}, "status": status})


def an_answer(status: str, **more: Any) -> TaskAnswer:
    return TaskAnswer(id="run", state="failed", status=status, worker="ns/p/p-abc", **more)


@pytest.mark.parametrize(
    ("job", "answer", "status"),
    [
        (a_job("Succeeded"), an_answer("succeeded", exit_code=0), "completed"),
        (a_job("Failed", "TasksFailed"), an_answer("failed", exit_code=1), "failed"),
        (a_job("Failed", "TasksFailed"), an_answer("timed-out"), "timeout"),
        (a_job("Failed", "TimedOut"), an_answer("cancelled"), "timeout"),
        (a_job("Cancelled", "Cancelled"), an_answer("cancelled"), "cancelled"),
        (a_job("Failed", "TasksFailed"), an_answer("refused"), "failed"),
        (a_job("Failed", "QueueTimedOut"), None, "timeout"),
        (a_job("Failed", "CommandNotAllowed"), None, "failed"),
        (a_job("Cancelled", "Cancelled"), an_answer(""), "cancelled"),
    ],
)
def test_how_a_command_ended_is_one_of_four_words(job: Job, answer: TaskAnswer | None, status: str) -> None:
    shape = executed(job, answer)
    assert (shape["status"], shape["success"]) == (status, status == "completed")
    assert (shape["error"] is None) == shape["success"]


def test_a_failure_says_what_the_process_said_or_why_there_was_none() -> None:
    assert executed(a_job("Failed"), an_answer("failed"), stderr="no such file\n")["error"] == "no such file"
    assert executed(a_job("Failed", "X", "not allowed"), None)["error"] == "not allowed"


def test_what_ended_says_when_in_utc() -> None:
    assert executed(a_job("Succeeded"), an_answer("succeeded"))["timestamp"] == "2026-11-28T00:03:04+00:00"


def test_a_failure_repeats_ids_and_no_other_argument() -> None:
    shape = failure("it\nfailed", given={"pool_id": "p" * 500, "prompt": "secret", "job_id": 7})
    assert shape == {"pool_id": "p" * 200, "status": "failed", "success": False, "error": "it failed"}
    assert len(failure("x" * 5000)["error"]) == 1000


@pytest.mark.parametrize(("worker", "shown"), [("ns/p/p-abc", "ns/p-abc"), ("", "")])
def test_a_worker_is_known_by_namespace_and_name(worker: str, shown: str) -> None:
    assert worker_id(worker) == shown
