"""What a ScanJob needs next: a pure decision on its spec, its status and how its tasks stand.

The pressure: the process may die between any two steps, watches repeat and reorder, and a finished job must never
run again, not even when the store was lost. What must stay true: the steps are idempotent and derived from what is
there, never from what was done before; a terminal status is the truth of a finished job; a cancelled or timed-out
job keeps what it has; ResultsStored is written with or before Complete, and only after the report is on disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mahavishnu_operator.api.reasons import JobPhase, Reason, Verdict
from mahavishnu_operator.api.scanjob import ScanJobSpec
from mahavishnu_operator.dispatch.protocol import JobProgress
from mahavishnu_operator.scan.model import Origin
from mahavishnu_operator.store.records import JobState, SourceRecord
from mahavishnu_operator.support.text import counted

from .acceptance import Refusal
from .conditions import seconds_of
from .runtime import earliest
from .sources import Bring

PLAN_TASK = "plan"


class Step(StrEnum):
    """What the shell does before it looks again. WAIT: nothing, write the status and sleep until an event."""

    WAIT = "wait"
    PREPARE = "prepare"  # have the files brought
    SUBMIT_PLAN = "submit-plan"
    SUBMIT_TASKS = "submit-tasks"
    SUBMIT_SHARDS = "submit-shards"
    SUSPEND = "suspend"
    RESUME = "resume"
    CANCEL = "cancel"
    AGGREGATE = "aggregate"
    FINISH = "finish"  # write the terminal status
    CLOSE = "close"  # it is terminal: the dispatcher may drop it from memory
    EXPIRE = "expire"  # delete the object


@dataclass(frozen=True, slots=True)
class PlanOutcome:
    """How planning ended. `error` empty: it worked and found `shards` tasks, in the files of `origin`."""

    shards: int = 0
    error: str = ""
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Aggregate:
    """What all results together say. `problems`: one line for each tool or task without an answer.

    `findings` and `report` are as status shows them; `error`: why the report could not be stored.
    """

    verdict: Verdict
    findings: Mapping[str, Any] | None = None
    report: Mapping[str, Any] | None = None
    results: tuple[Mapping[str, Any], ...] = ()
    problems: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class JobView:
    """All that a decision depends on. Times are seconds since the Unix epoch.

    `obstacle`: why the pool that has the tasks cannot begin one, which may go away;
    `status` is the object's own, as last written; `progress` None: the dispatcher does not know the job;
    `plan` is set once the plan task ended; `aggregate` once the results were put together. `source`: what is to be done
    about the files, None: nothing; `stored`: the archive of them. `dispatcher`: how people reach it.
    """

    spec: ScanJobSpec | None
    now: float
    created_at: float
    generation: int = 1
    pool: str = ""
    refusal: Refusal | None = None
    obstacle: Refusal | None = None
    status: Mapping[str, Any] = field(default_factory=dict)
    progress: JobProgress | None = None
    plan: PlanOutcome | None = None
    aggregate: Aggregate | None = None
    source: Bring | None = None
    stored: SourceRecord | None = None
    dispatcher: str = ""

    @property
    def phase(self) -> JobPhase:
        """The phase written last; Pending when there is none."""
        return JobPhase(self.status.get("phase") or JobPhase.PENDING)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ends. `reason` Completed is the good one."""

    phase: JobPhase
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class JobDecision:
    """The next step, how the job stands now, and when time alone would change that.

    `waiting`: why nothing goes on (a refusal that may go away); `ending` is set with step FINISH alone.
    """

    step: Step
    phase: JobPhase
    ending: Ending | None = None
    waiting: Refusal | None = None
    requeue_after: float | None = None


def decide_job(view: JobView) -> JobDecision:
    """The next step of a job."""
    if view.phase.terminal:
        return _after_the_end(view)
    if view.refusal is not None and view.refusal.final:
        return _finish(JobPhase.FAILED, view.refusal.reason, view.refusal.message)
    if view.progress is None:
        return _not_submitted(view)
    if view.progress.done:
        return _all_ended(view, view.progress)
    return _in_progress(view, view.progress)


def _after_the_end(view: JobView) -> JobDecision:
    if view.progress is not None and view.progress.state is not JobState.CLOSED:
        return JobDecision(Step.CLOSE, view.phase)
    expires = expiry(view)
    if expires is None:
        return JobDecision(Step.WAIT, view.phase)
    if view.now >= expires:
        return JobDecision(Step.EXPIRE, view.phase)
    return JobDecision(Step.WAIT, view.phase, requeue_after=expires - view.now)


def expiry(view: JobView) -> float | None:
    """When a finished job is deleted by its own wish; None: never."""
    if view.spec is None or view.spec.ttl_seconds_after_finished is None or not view.status.get("completionTime"):
        return None
    return seconds_of(view.status["completionTime"]) + view.spec.ttl_seconds_after_finished


def _not_submitted(view: JobView) -> JobDecision:
    spec = view.spec
    if spec is not None and spec.cancel:
        return _finish(JobPhase.CANCELLED, Reason.CANCELLED, "spec.cancel was set before any task was made")
    overdue = _overdue(view, started=False)
    if overdue is not None:
        return JobDecision(Step.FINISH, overdue.phase, ending=overdue)
    if view.refusal is not None or spec is None or spec.suspend:
        return JobDecision(
            Step.WAIT, JobPhase.PENDING, waiting=view.refusal, requeue_after=_next_deadline(view, started=False)
        )
    if view.source is not None and not view.source.ready:
        return _without_files(view, view.source)
    return JobDecision(Step.SUBMIT_PLAN if spec.scan else Step.SUBMIT_TASKS, JobPhase.PENDING)


def _without_files(view: JobView, source: Bring) -> JobDecision:
    if source.failed is not None:
        return _finish(JobPhase.FAILED, source.failed.reason, source.failed.message)
    if source.start:
        return JobDecision(Step.PREPARE, JobPhase.PENDING)
    later = earliest(_next_deadline(view, started=False), source.look_after)
    return JobDecision(Step.WAIT, JobPhase.PENDING, waiting=source.waiting, requeue_after=later)


def _in_progress(view: JobView, progress: JobProgress) -> JobDecision:
    phase = _running_phase(view, progress)
    spec = view.spec
    wants_end = (spec is not None and spec.cancel) or _overdue(view, started=progress.started) is not None
    if progress.state is JobState.CANCELLED:
        return JobDecision(Step.WAIT, phase)  # until the workers have let go, or their leases have run out
    if wants_end:
        return JobDecision(Step.CANCEL, phase)
    suspend = spec is not None and spec.suspend
    if suspend and progress.state is JobState.OPEN:
        return JobDecision(Step.SUSPEND, phase)
    if not suspend and progress.state is JobState.SUSPENDED:
        return JobDecision(Step.RESUME, phase)
    deadline = _next_deadline(view, started=progress.started)
    return JobDecision(Step.WAIT, phase, waiting=_kept_waiting(view, progress), requeue_after=deadline)


def _kept_waiting(view: JobView, progress: JobProgress) -> Refusal | None:
    """Why no queued task is leased, or was, when the pool or the one worker that may serve the job is not there."""
    if not (progress.queued or progress.cancelled):
        return None
    if view.obstacle is not None:
        return view.obstacle
    if not progress.worker or progress.worker_there:
        return None
    message = (
        f"worker {progress.worker} of WorkerPool {progress.pool}, which spec.routing.workerName names, is not there or "
        "is on its way out; the job waits for it"
    )
    return Refusal(Reason.WORKER_NOT_FOUND, message, final=False)


def _all_ended(view: JobView, progress: JobProgress) -> JobDecision:
    spec = view.spec
    planned_only = spec is not None and spec.scan is not None and progress.total == 1
    if planned_only and spec is not None and progress.state is not JobState.CANCELLED:
        if view.plan is None:
            return JobDecision(Step.WAIT, JobPhase.PLANNING, requeue_after=1.0)
        if view.plan.error:
            return _finish(JobPhase.FAILED, Reason.PLAN_FAILED, view.plan.error)
        if view.plan.shards:
            if spec.cancel or _overdue(view, started=True) is not None:
                return JobDecision(Step.CANCEL, JobPhase.PLANNING)
            if view.refusal is not None:
                deadline = _next_deadline(view, started=True)
                return JobDecision(Step.WAIT, JobPhase.PLANNING, waiting=view.refusal, requeue_after=deadline)
            if spec.suspend:
                step = Step.SUSPEND if progress.state is JobState.OPEN else Step.WAIT
                return JobDecision(step, JobPhase.PLANNING, requeue_after=_next_deadline(view, started=True))
            return JobDecision(Step.SUBMIT_SHARDS, JobPhase.PLANNING)
    if planned_only and progress.state is JobState.CANCELLED:
        ending = _ending_of_cancelled(view, progress)
        return JobDecision(Step.FINISH, ending.phase, ending=ending)
    if view.aggregate is None:
        return JobDecision(Step.AGGREGATE, JobPhase.AGGREGATING)
    ending = _ending(view, progress, view.aggregate)
    return JobDecision(Step.FINISH, ending.phase, ending=ending)


def _ending(view: JobView, progress: JobProgress, aggregate: Aggregate) -> Ending:
    if progress.state is JobState.CANCELLED and progress.cancelled:
        return _ending_of_cancelled(view, progress)
    if aggregate.error:
        return Ending(JobPhase.FAILED, Reason.REPORT_FAILED, aggregate.error)
    total = progress.total
    if view.spec is not None and view.spec.scan is None and progress.failed:
        named = "; ".join(aggregate.problems[:5])
        return Ending(
            JobPhase.FAILED, Reason.TASKS_FAILED, f"{progress.failed} of {counted(total, 'task')} failed: {named}"
        )
    if progress.failed or aggregate.problems:
        named = "; ".join(aggregate.problems[:5]) or f"{counted(progress.failed, 'task')} without an answer"
        return Ending(JobPhase.FAILED, Reason.INCOMPLETE, f"not everything was looked at: {named}")
    if view.spec is not None and view.spec.scan is not None:
        return Ending(JobPhase.SUCCEEDED, Reason.COMPLETED, f"{_all(total - 1)} ran; the report is stored")
    return Ending(JobPhase.SUCCEEDED, Reason.COMPLETED, f"{_all(total)} succeeded")


def _all(tasks: int) -> str:
    return f"all {tasks} tasks" if tasks != 1 else "the only task"


def _ending_of_cancelled(view: JobView, progress: JobProgress) -> Ending:
    """A cancelled job was cancelled by its author, or by one of its own deadlines."""
    done = f"{progress.succeeded} of {counted(progress.total, 'task')} had succeeded; what is done is kept"
    if view.spec is None or view.spec.cancel:
        return Ending(JobPhase.CANCELLED, Reason.CANCELLED, f"spec.cancel was set; {done}")
    overdue = _overdue(view, started=progress.started)
    if overdue is not None:
        return Ending(overdue.phase, overdue.reason, f"{overdue.message}; {done}")
    return Ending(JobPhase.CANCELLED, Reason.CANCELLED, f"the job was cancelled; {done}")


def _overdue(view: JobView, *, started: bool) -> Ending | None:
    """The deadline that has passed, if one has."""
    spec = view.spec
    if spec is None:
        return None
    age = view.now - view.created_at
    source = view.source.waiting if view.source is not None else None
    waiting = view.refusal or source or (_kept_waiting(view, view.progress) if view.progress is not None else None)
    why = f" ({waiting.message})" if waiting is not None else ""
    if not started and spec.queue_timeout_seconds is not None and age >= spec.queue_timeout_seconds:
        return Ending(
            JobPhase.FAILED,
            Reason.QUEUE_TIMED_OUT,
            f"no worker took a task within spec.queueTimeoutSeconds, {spec.queue_timeout_seconds} s{why}",
        )
    if age >= spec.timeout_seconds:
        return Ending(
            JobPhase.FAILED,
            Reason.TIMED_OUT,
            f"spec.timeoutSeconds, {spec.timeout_seconds} s from creation, have passed{why}",
        )
    return None


def _next_deadline(view: JobView, *, started: bool) -> float | None:
    """Seconds until the next deadline of a job that is not over yet."""
    if view.spec is None:
        return None
    age = view.now - view.created_at
    limits = [float(view.spec.timeout_seconds)]
    if not started and view.spec.queue_timeout_seconds is not None:
        limits.append(float(view.spec.queue_timeout_seconds))
    return max(0.05, min(limits) - age)


def _running_phase(view: JobView, progress: JobProgress) -> JobPhase:
    if view.spec is not None and view.spec.scan is not None and progress.total == 1:
        return JobPhase.PLANNING
    return JobPhase.RUNNING if progress.started else JobPhase.PENDING


def _finish(phase: JobPhase, reason: Reason, message: str) -> JobDecision:
    return JobDecision(Step.FINISH, phase, ending=Ending(phase, reason, message))
