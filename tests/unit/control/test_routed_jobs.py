"""What a job says that waits for a pool, or for the one worker that may serve it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mahavishnu_operator.api.reasons import ConditionType, Reason
from mahavishnu_operator.control.acceptance import Refusal
from mahavishnu_operator.control.conditions import find
from mahavishnu_operator.control.job_status import job_status
from mahavishnu_operator.control.jobs import JobView, Step, decide_job

from .test_jobs import CANCELLED, GOOD, TASKS, tasks, view

ROUTED: dict[str, Any] = {name: value for name, value in TASKS.items() if name != "poolRef"} | {
    "routing": {"strategy": "round_robin"}
}
NAMED = ROUTED | {"routing": {"pools": ["p"], "workerName": "p-1"}}
NOWHERE = Refusal(Reason.NO_POOL_MATCHES, "no WorkerPool passes spec.routing", final=False)


def message(given: JobView, type_: ConditionType) -> str:
    entry = find(job_status(given, decide_job(given)), type_)
    assert entry is not None
    return str(entry["message"])


def test_a_routed_job_names_its_pool_and_the_strategy_that_chose_it() -> None:
    assert message(view(ROUTED, progress=tasks(queued=2)), ConditionType.ACCEPTED) == (
        "WorkerPool default/p does the work, chosen by strategy round_robin"
    )


def test_a_routed_job_that_was_not_queued_yet_names_no_pool() -> None:
    assert "default/p" not in message(view(ROUTED, suspend=True), ConditionType.ACCEPTED)


def test_a_routed_job_that_no_pool_may_have_waits_until_its_queue_timeout() -> None:
    given = view(ROUTED, age=10, queueTimeoutSeconds=30, refusal=NOWHERE)
    decision = decide_job(given)
    assert (decision.step, decision.waiting) == (Step.WAIT, NOWHERE)
    assert decision.requeue_after == pytest.approx(20)
    late = decide_job(view(ROUTED, age=31, queueTimeoutSeconds=30, refusal=NOWHERE)).ending
    assert late is not None
    assert late.reason is Reason.QUEUE_TIMED_OUT
    assert NOWHERE.message in late.message


def test_a_job_whose_worker_is_not_there_says_so_and_its_end_too() -> None:
    absent = replace(tasks(queued=2), pool="default/p", worker="p-1", worker_there=False)
    given = view(NAMED, queueTimeoutSeconds=60, progress=absent)
    ready = find(job_status(given, decide_job(given)), ConditionType.READY)
    assert ready is not None
    assert ready["reason"] == "WorkerNotFound"
    assert ready["message"].startswith("worker p-1 of WorkerPool default/p")
    cancelled = replace(absent, state=CANCELLED, queued=0, cancelled=2)
    ending = decide_job(view(NAMED, age=61, queueTimeoutSeconds=60, progress=cancelled, aggregate=GOOD)).ending
    assert ending is not None
    assert ending.reason is Reason.QUEUE_TIMED_OUT
    assert "worker p-1" in ending.message


def test_a_job_whose_worker_is_there_waits_for_a_worker_like_any_other() -> None:
    given = view(NAMED, progress=replace(tasks(queued=2), pool="default/p", worker="p-1"))
    assert decide_job(given).waiting is None


def test_a_job_whose_worker_goes_while_it_runs_the_last_task_waits_for_nobody() -> None:
    running = replace(tasks(running=1, succeeded=1), pool="default/p", worker="p-1", worker_there=False)
    assert decide_job(view(NAMED, progress=running)).waiting is None
