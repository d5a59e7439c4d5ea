"""What the end of a worker for one task means, for every word that clusters have for it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mahavishnu_operator.api.reasons import FailureClass
from mahavishnu_operator.backends.kubernetes.ends import (
    OF_CONTAINERS,
    OF_DISRUPTIONS,
    OF_JOBS,
    OF_PODS,
    End,
    judge_end,
)

TOOL, LOST, DISRUPTED = FailureClass.TOOL, FailureClass.WORKER_LOST, FailureClass.DISRUPTED
EVICTED = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "status": {"phase": "Failed", **status}}


def target(reason: str) -> dict[str, Any]:
    return {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "somebody did it"}


def job(reason: str, *, type_: str = "Failed") -> dict[str, Any]:
    return {"metadata": {"name": "j"}, "status": {"conditions": [{"type": type_, "status": "True", "reason": reason}]}}


def ended(name: str, reason: str, code: int = 1, *, at: str = "2026-11-27T10:00:00Z") -> dict[str, Any]:
    return {"name": name, "state": {"terminated": {"exitCode": code, "reason": reason, "finishedAt": at}}}


@pytest.mark.parametrize(("reason", "failure"), OF_DISRUPTIONS.items())
def test_a_disruption_is_classed_by_who_did_it(reason: str, failure: FailureClass) -> None:
    end = judge_end(job("BackoffLimitExceeded"), pod(conditions=[target(reason)]))
    assert (end.failure, end.reason) == (failure, reason)
    assert f"{reason}: somebody did it" in end.message


@pytest.mark.parametrize(("reason", "failure"), OF_PODS.items())
def test_a_pod_is_classed_by_its_own_reason(reason: str, failure: FailureClass) -> None:
    assert judge_end(job("BackoffLimitExceeded"), pod(reason=reason)).failure is failure


@pytest.mark.parametrize("type_", ["Failed", "FailureTarget"])
@pytest.mark.parametrize(("reason", "failure"), OF_JOBS.items())
def test_a_job_is_classed_by_its_condition(reason: str, failure: FailureClass, type_: str) -> None:
    assert judge_end(job(reason, type_=type_), None).failure is failure


@pytest.mark.parametrize(("who", "failure"), OF_CONTAINERS.items())
def test_a_container_is_classed_by_its_name_and_reason(who: tuple[str, str], failure: FailureClass) -> None:
    assert judge_end(None, pod(containerStatuses=[ended(*who)])).failure is failure


@pytest.mark.parametrize(
    ("what", "status", "failure"),
    [
        ("memory that the tool used up", {"containerStatuses": [ended("runner", "OOMKilled", 137)]}, TOOL),
        ("memory that our own agent used up", {"containerStatuses": [ended("agent", "OOMKilled", 137)]}, LOST),
        ("an agent that left its dead runner", {"containerStatuses": [ended("agent", "Error", 5)]}, LOST),
        ("an eviction for want of memory", EVICTED | {"containerStatuses": [ended("runner", "OOMKilled")]}, DISRUPTED),
        ("a preemption in mid-task", {"conditions": [target("PreemptionByScheduler")]}, DISRUPTED),
        ("a node that has gone", {"conditions": [target("DeletionByPodGC")]}, LOST),
        ("a disruption of a kind to come", {"conditions": [target("DeletionBySomethingNew")]}, DISRUPTED),
        ("words of a kubelet to come", {"reason": "SomethingNew"}, LOST),
    ],
)
def test_only_what_the_tool_did_is_charged_to_it(what: str, status: dict[str, Any], failure: FailureClass) -> None:
    assert judge_end(job("BackoffLimitExceeded"), pod(**status)).failure is failure, what


def test_a_tool_that_ran_out_of_memory_is_heard_before_the_agent_that_left_because_of_it() -> None:
    both = [ended("agent", "Error", 5, at="2026-11-27T10:00:00Z"), ended("runner", "OOMKilled", 137)]
    end = judge_end(job("BackoffLimitExceeded"), pod(containerStatuses=both))
    assert (end.failure, end.reason) == (TOOL, "OOMKilled")
    assert "container runner ended with exit code 137: OOMKilled" in end.message
    assert "container agent ended with exit code 5" in end.message


def test_a_deadline_is_a_time_out() -> None:
    assert judge_end(job("DeadlineExceeded"), None).reason == "TimedOut"


def test_a_worker_that_left_no_word_is_lost() -> None:
    assert judge_end(None, None) == End(LOST, "WorkerGone", "its Pod has gone")


REASON = st.one_of(
    st.sampled_from(sorted({*OF_DISRUPTIONS, *OF_PODS, *OF_JOBS, *(r for _, r in OF_CONTAINERS)})), st.text()
)
CONTAINER = st.builds(ended, st.sampled_from(["agent", "runner", "other"]), REASON, st.integers(0, 255))


@given(
    conditions=st.lists(st.builds(target, REASON), max_size=2),
    containers=st.lists(CONTAINER, max_size=3),
    reason=st.one_of(st.none(), REASON),
    condition=st.one_of(st.none(), REASON),
)
def test_whatever_is_said_the_tool_is_blamed_only_for_memory_and_deadlines(
    conditions: list[Any], containers: list[Any], reason: str | None, condition: str | None
) -> None:
    witness = None if condition is None else job(condition)
    end = judge_end(witness, pod(conditions=conditions, containerStatuses=containers, reason=reason))
    assert end.reason
    assert end.message
    if end.failure is TOOL:
        assert not conditions
        assert end.reason in {"OOMKilled", "TimedOut"}
