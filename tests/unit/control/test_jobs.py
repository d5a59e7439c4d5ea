"""Each row: how a job stands, and its next step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mahavishnu_operator.api.reasons import ConditionType, JobPhase, Reason, Verdict
from mahavishnu_operator.api.scanjob import ScanJobSpec
from mahavishnu_operator.control.acceptance import Refusal
from mahavishnu_operator.control.conditions import find, is_true, timestamp
from mahavishnu_operator.control.job_status import job_status, task_counts
from mahavishnu_operator.control.jobs import Aggregate, JobDecision, JobView, PlanOutcome, Step, decide_job
from mahavishnu_operator.control.sources import Bring
from mahavishnu_operator.dispatch.protocol import JobProgress
from mahavishnu_operator.store.records import JobState

CREATED = 1_000_000.0
SCAN: dict[str, Any] = {"poolRef": {"name": "p"}, "source": {"path": "/src"}, "scan": {"tools": ["ruff"]}}
TASKS: dict[str, Any] = {
    "poolRef": {"name": "p"},
    "tasks": [{"id": "a", "command": ["true"]}, {"id": "b", "command": ["true"]}],
}
WAITING = Refusal(Reason.POOL_NOT_FOUND, "WorkerPool default/p does not exist", final=False)
AWAITED = Bring(waiting=Refusal(Reason.ARCHIVE_AWAITED, "nobody has brought the archive", final=False))
REFUSED = Refusal(Reason.NOT_IMPLEMENTED, "this version does not act on source.git")
GOOD = Aggregate(Verdict.PASSED, report={"uri": "/r", "sha256": "0" * 64, "bytes": 9, "truncated": False})


def view(base: dict[str, Any], age: float = 10.0, **fields: Any) -> JobView:
    keep = ("refusal", "obstacle", "status", "progress", "plan", "aggregate", "bring")
    known = {name: fields.pop(name) for name in keep if name in fields}
    known |= {"source": known.pop("bring")} if "bring" in known else {}
    spec = ScanJobSpec.model_validate(base | fields)
    return JobView(spec=spec, now=CREATED + age, created_at=CREATED, generation=3, pool="default/p", **known)


def tasks(state: JobState = JobState.OPEN, **counts: Any) -> JobProgress:
    started = bool(set(counts) - {"queued"}) and counts.pop("started", 1) == 1
    return JobProgress(state, total=sum(v for k, v in counts.items() if k != "retried"), started=started, **counts)


def planned(state: JobState = JobState.OPEN, **counts: int) -> JobProgress:
    """Progress of a scan whose plan succeeded."""
    return tasks(state, **(counts | {"succeeded": counts.get("succeeded", 0) + 1}))


OPEN, SUSPENDED, CANCELLED, CLOSED = JobState
ROWS: list[tuple[str, JobView, Step, JobPhase]] = [
    ("a new scan is planned", view(SCAN), Step.SUBMIT_PLAN, JobPhase.PENDING),
    ("new tasks are submitted", view(TASKS), Step.SUBMIT_TASKS, JobPhase.PENDING),
    ("a refused job ends", view(SCAN, refusal=REFUSED), Step.FINISH, JobPhase.FAILED),
    ("a job without a pool waits", view(SCAN, refusal=WAITING), Step.WAIT, JobPhase.PENDING),
    ("a suspended new job waits", view(SCAN, suspend=True), Step.WAIT, JobPhase.PENDING),
    ("a job cancelled before it began ends", view(SCAN, cancel=True), Step.FINISH, JobPhase.CANCELLED),
    (
        "a job cancelled while it waits for a pool ends",
        view(SCAN, cancel=True, refusal=WAITING),
        Step.FINISH,
        JobPhase.CANCELLED,
    ),
    (
        "a job whose pool never came times out in the queue",
        view(SCAN, age=31, queueTimeoutSeconds=30, refusal=WAITING),
        Step.FINISH,
        JobPhase.FAILED,
    ),
    ("files that nobody has brought are waited for", view(SCAN, bring=AWAITED), Step.WAIT, JobPhase.PENDING),
    ("files are had brought", view(SCAN, bring=Bring(start=2)), Step.PREPARE, JobPhase.PENDING),
    ("files that are there are planned", view(SCAN, bring=Bring(ready=True)), Step.SUBMIT_PLAN, JobPhase.PENDING),
    ("files that will never come end it", view(SCAN, bring=Bring(failed=REFUSED)), Step.FINISH, JobPhase.FAILED),
    (
        "a suspended job has no files brought",
        view(SCAN, bring=Bring(start=1), suspend=True),
        Step.WAIT,
        JobPhase.PENDING,
    ),
    (
        "files that nobody brings time out in the queue",
        view(SCAN, age=31, queueTimeoutSeconds=30, bring=AWAITED),
        Step.FINISH,
        JobPhase.FAILED,
    ),
    ("planning is waited for", view(SCAN, progress=tasks(running=1)), Step.WAIT, JobPhase.PLANNING),
    (
        "a plan becomes tasks",
        view(SCAN, progress=planned(), plan=PlanOutcome(shards=4)),
        Step.SUBMIT_SHARDS,
        JobPhase.PLANNING,
    ),
    (
        "a plan without tasks is aggregated",
        view(SCAN, progress=planned(), plan=PlanOutcome()),
        Step.AGGREGATE,
        JobPhase.AGGREGATING,
    ),
    (
        "a plan that failed fails the job",
        view(SCAN, progress=tasks(failed=1), plan=PlanOutcome(error="no such folder")),
        Step.FINISH,
        JobPhase.FAILED,
    ),
    (
        "a plan is not used while the job is suspended",
        view(SCAN, suspend=True, progress=planned(), plan=PlanOutcome(shards=4)),
        Step.SUSPEND,
        JobPhase.PLANNING,
    ),
    (
        "a plan waits when its pool has gone",
        view(SCAN, refusal=WAITING, progress=planned(), plan=PlanOutcome(shards=4)),
        Step.WAIT,
        JobPhase.PLANNING,
    ),
    (
        "a job cancelled between plan and tasks is cancelled",
        view(SCAN, cancel=True, progress=planned(), plan=PlanOutcome(shards=4)),
        Step.CANCEL,
        JobPhase.PLANNING,
    ),
    ("queued tasks are pending", view(TASKS, progress=tasks(queued=2)), Step.WAIT, JobPhase.PENDING),
    (
        "queued tasks whose pool was deleted wait",
        view(TASKS, obstacle=WAITING, progress=tasks(queued=2)),
        Step.WAIT,
        JobPhase.PENDING,
    ),
    (
        "queued tasks whose pool was deleted time out",
        view(TASKS, age=61, queueTimeoutSeconds=60, obstacle=WAITING, progress=tasks(queued=2)),
        Step.CANCEL,
        JobPhase.PENDING,
    ),
    ("running tasks are waited for", view(TASKS, progress=tasks(queued=1, running=1)), Step.WAIT, JobPhase.RUNNING),
    ("suspend is passed on", view(TASKS, suspend=True, progress=tasks(running=2)), Step.SUSPEND, JobPhase.RUNNING),
    (
        "a suspended job stays so",
        view(TASKS, suspend=True, progress=tasks(SUSPENDED, running=2)),
        Step.WAIT,
        JobPhase.RUNNING,
    ),
    ("resume is passed on", view(TASKS, progress=tasks(SUSPENDED, running=2)), Step.RESUME, JobPhase.RUNNING),
    ("cancel is passed on", view(TASKS, cancel=True, progress=tasks(running=2)), Step.CANCEL, JobPhase.RUNNING),
    (
        "a suspended job can be cancelled",
        view(TASKS, cancel=True, suspend=True, progress=tasks(SUSPENDED, running=2)),
        Step.CANCEL,
        JobPhase.RUNNING,
    ),
    (
        "a cancelled job waits for its workers to let go",
        view(TASKS, cancel=True, progress=tasks(CANCELLED, running=1, cancelled=1)),
        Step.WAIT,
        JobPhase.RUNNING,
    ),
    (
        "what a cancelled job has is aggregated",
        view(TASKS, cancel=True, progress=tasks(CANCELLED, succeeded=1, cancelled=1)),
        Step.AGGREGATE,
        JobPhase.AGGREGATING,
    ),
    (
        "a job over its time is cancelled",
        view(TASKS, age=3601, progress=tasks(running=2)),
        Step.CANCEL,
        JobPhase.RUNNING,
    ),
    (
        "a suspended job over its time is cancelled all the same",
        view(TASKS, age=3601, suspend=True, progress=tasks(SUSPENDED, queued=2)),
        Step.CANCEL,
        JobPhase.PENDING,
    ),
    (
        "a job that no worker took is cancelled",
        view(TASKS, age=61, queueTimeoutSeconds=60, progress=tasks(queued=2)),
        Step.CANCEL,
        JobPhase.PENDING,
    ),
    (
        "a job that a worker took has no queue timeout any more",
        view(TASKS, age=61, queueTimeoutSeconds=60, progress=tasks(running=2)),
        Step.WAIT,
        JobPhase.RUNNING,
    ),
    (
        "tasks that ended are aggregated",
        view(TASKS, progress=tasks(succeeded=1, failed=1)),
        Step.AGGREGATE,
        JobPhase.AGGREGATING,
    ),
    (
        "an aggregated job ends well",
        view(TASKS, progress=tasks(succeeded=2), aggregate=GOOD),
        Step.FINISH,
        JobPhase.SUCCEEDED,
    ),
    (
        "a job that ended in time but is looked at too late ends well",
        view(TASKS, age=9999, progress=tasks(succeeded=2), aggregate=GOOD),
        Step.FINISH,
        JobPhase.SUCCEEDED,
    ),
    (
        "a finished job is closed",
        view(TASKS, status={"phase": "Succeeded"}, progress=tasks(succeeded=2)),
        Step.CLOSE,
        JobPhase.SUCCEEDED,
    ),
    (
        "a finished job that the store lost is never run again",
        view(TASKS, status={"phase": "Failed"}),
        Step.WAIT,
        JobPhase.FAILED,
    ),
    (
        "a finished job ignores its spec",
        view(TASKS, cancel=True, status={"phase": "Succeeded"}, progress=tasks(CLOSED, succeeded=2)),
        Step.WAIT,
        JobPhase.SUCCEEDED,
    ),
    (
        "an expired job is deleted",
        view(
            TASKS,
            age=100,
            ttlSecondsAfterFinished=60,
            status={"phase": "Succeeded", "completionTime": timestamp(CREATED + 40)},
        ),
        Step.EXPIRE,
        JobPhase.SUCCEEDED,
    ),
]


@pytest.mark.parametrize(("given", "step", "phase"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_next_step(given: JobView, step: Step, phase: JobPhase) -> None:
    decision = decide_job(given)
    assert (decision.step, decision.phase) == (step, phase)


ENDINGS: list[tuple[str, JobView, Reason]] = [
    ("all ran", view(TASKS, progress=tasks(succeeded=2), aggregate=GOOD), Reason.COMPLETED),
    ("a command failed", view(TASKS, progress=tasks(succeeded=1, failed=1), aggregate=GOOD), Reason.TASKS_FAILED),
    ("a tool crashed", view(SCAN, progress=planned(succeeded=1, failed=1), aggregate=GOOD), Reason.INCOMPLETE),
    (
        "a tool is not installed",
        view(SCAN, progress=planned(succeeded=2), aggregate=replace(GOOD, problems=("bandit: not installed",))),
        Reason.INCOMPLETE,
    ),
    (
        "the report could not be stored",
        view(SCAN, progress=planned(succeeded=2), aggregate=replace(GOOD, report=None, error="disk full")),
        Reason.REPORT_FAILED,
    ),
    (
        "the author cancelled",
        view(TASKS, cancel=True, progress=tasks(CANCELLED, succeeded=1, cancelled=1), aggregate=GOOD),
        Reason.CANCELLED,
    ),
    (
        "the job took too long",
        view(TASKS, age=3700, progress=tasks(CANCELLED, succeeded=1, cancelled=1), aggregate=GOOD),
        Reason.TIMED_OUT,
    ),
    (
        "no worker came",
        view(
            TASKS, age=61, queueTimeoutSeconds=60, progress=JobProgress(CANCELLED, total=2, cancelled=2), aggregate=GOOD
        ),
        Reason.QUEUE_TIMED_OUT,
    ),
    (
        "cancelled after all had ended: nothing was cut short",
        view(TASKS, cancel=True, progress=tasks(CANCELLED, succeeded=2), aggregate=GOOD),
        Reason.COMPLETED,
    ),
    (
        "cancelled while planning",
        view(SCAN, cancel=True, progress=tasks(CANCELLED, cancelled=1)),
        Reason.CANCELLED,
    ),
]


@pytest.mark.parametrize(("given", "reason"), [row[1:] for row in ENDINGS], ids=[row[0] for row in ENDINGS])
def test_how_it_ends(given: JobView, reason: Reason) -> None:
    ending = decide_job(given).ending
    assert ending is not None
    assert ending.reason is reason


@pytest.mark.parametrize("given", [row[1] for row in ROWS], ids=[row[0] for row in ROWS])
def test_counts_always_add_up(given: JobView) -> None:
    counts = task_counts(given.spec, given.progress)
    parts = ("queued", "running", "succeeded", "failed", "cached", "cancelled")
    assert counts["total"] == sum(counts[name] for name in parts)


@pytest.mark.parametrize("given", [row[1] for row in ROWS], ids=[row[0] for row in ROWS])
def test_the_same_state_gives_the_same_status_again(given: JobView) -> None:
    status = job_status(given, decide_job(given))
    again = replace(given, status=status, now=given.now + 1.0)
    if not again.phase.terminal:
        assert job_status(again, decide_job(given)) == status


def test_planning_is_not_a_task_of_the_author() -> None:
    spec = ScanJobSpec.model_validate(SCAN)
    assert task_counts(spec, tasks(running=1))["total"] == 0
    assert task_counts(spec, planned(queued=2, running=1))["total"] == 3


def test_a_job_that_waits_says_for_what() -> None:
    given = view(SCAN, refusal=WAITING)
    status = job_status(given, decide_job(given))
    accepted = find(status, ConditionType.ACCEPTED)
    assert accepted is not None
    assert (accepted["status"], accepted["reason"]) == ("False", "PoolNotFound")
    assert status["phase"] == "Pending"


def test_a_waiting_job_is_looked_at_again_when_its_first_deadline_passes() -> None:
    given = view(SCAN, age=10, queueTimeoutSeconds=30, refusal=WAITING)
    assert decide_job(given).requeue_after == pytest.approx(20)


def test_a_finished_job_is_looked_at_again_when_it_expires() -> None:
    ended = {"phase": "Succeeded", "completionTime": timestamp(CREATED + 40)}
    given = view(TASKS, age=50, ttlSecondsAfterFinished=60, status=ended)
    assert decide_job(given).requeue_after == pytest.approx(50)


def test_a_complete_job_is_ready_for_kstatus() -> None:
    status = _end(view(TASKS, progress=tasks(succeeded=2), aggregate=GOOD))
    assert _true(status) == {"Accepted", "Planned", "ResultsStored", "Complete", "Ready"}
    assert (status["phase"], status["verdict"]) == ("Succeeded", "Passed")


def test_a_failed_job_is_stalled_for_kstatus() -> None:
    status = _end(view(TASKS, progress=tasks(failed=2), aggregate=GOOD))
    assert _true(status) == {"Accepted", "Planned", "ResultsStored", "Failed", "Stalled"}


def test_a_refused_job_names_the_reason_in_every_condition_that_ends_it() -> None:
    status = _end(view(SCAN, refusal=REFUSED))
    assert _true(status) == {"Failed", "Stalled"}
    assert {c["reason"] for c in status["conditions"]} == {"NotImplemented"}
    assert status["verdict"] == "Incomplete"


def test_the_report_is_in_the_status_that_says_complete() -> None:
    status = _end(view(SCAN, progress=planned(succeeded=2), aggregate=GOOD))
    assert status["report"]["sha256"] == "0" * 64
    assert is_true(status, ConditionType.RESULTS_STORED)


def test_resuming_leaves_a_condition_that_says_so() -> None:
    suspended = view(TASKS, suspend=True, progress=tasks(SUSPENDED, queued=2))
    status = job_status(suspended, decide_job(suspended))
    resumed = view(TASKS, progress=tasks(queued=2), status=status)
    entry = next(c for c in job_status(resumed, decide_job(resumed))["conditions"] if c["type"] == "Suspended")
    assert (entry["status"], entry["reason"]) == ("False", "Resumed")


def test_a_terminal_status_changes_only_in_the_generation_that_was_looked_at() -> None:
    ended = view(TASKS, status={"phase": "Failed", "mark": 1, "observedGeneration": 1}, progress=tasks(succeeded=2))
    status = job_status(ended, JobDecision(Step.WAIT, JobPhase.FAILED))
    assert status == {"phase": "Failed", "mark": 1, "observedGeneration": ended.generation}


def test_no_more_than_twenty_results_are_shown() -> None:
    many = replace(GOOD, results=tuple({"id": str(n), "status": "succeeded"} for n in range(500)))
    assert len(_end(view(TASKS, progress=tasks(succeeded=2), aggregate=many))["results"]) == 20


def _end(given: JobView) -> dict[str, Any]:
    decision = decide_job(given)
    assert decision.step is Step.FINISH
    return job_status(given, decision)


def _true(status: dict[str, Any]) -> set[str]:
    return {c["type"] for c in status["conditions"] if c["status"] == "True"}
