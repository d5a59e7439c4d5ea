"""The status of a ScanJob, as numbers and conditions, from a view and the decision on it: pure.

The pressure: a status is read by people, by `kubectl wait`, by GitOps health checks and by dashboards at once, and
it is bounded (etcd refuses large objects). What must stay true: the counts add up (total = queued + running +
succeeded + failed + cached + cancelled); nothing in it grows with the number of files or findings; equal views give
equal statuses.
"""

from __future__ import annotations

from typing import Any

from mahavishnu_operator.api.reasons import ConditionType, JobPhase, Reason, Verdict
from mahavishnu_operator.api.scanjob import ScanJobSpec
from mahavishnu_operator.dispatch.protocol import JobProgress
from mahavishnu_operator.support.text import counted

from .conditions import Wish, merge, timestamp
from .jobs import JobDecision, JobView, Step

RESULTS_SHOWN = 20

_WORDS = {
    JobPhase.PENDING: (Reason.PENDING, "waiting for a worker"),
    JobPhase.PLANNING: (Reason.PLANNING, "a worker lists the files and cuts them into tasks"),
    JobPhase.RUNNING: (Reason.RUNNING, "tasks are queued or running"),
    JobPhase.AGGREGATING: (Reason.AGGREGATING, "all tasks have ended; the report is being written"),
}


def job_status(view: JobView, decision: JobDecision) -> dict[str, Any]:
    """The status to write. A terminal status stays as it is, but for the generation that was looked at."""
    old = view.status
    if view.phase.terminal:
        return {**old, "observedGeneration": view.generation}
    ended = decision.step is Step.FINISH and decision.ending is not None
    status: dict[str, Any] = {
        "observedGeneration": view.generation,
        "phase": decision.phase.value,
        "verdict": _verdict(view, ended=ended).value,
        "tasks": task_counts(view.spec, view.progress),
    }
    if view.progress is not None and view.progress.pool:
        status["pool"] = view.progress.pool
    source = _source(view)
    if source:
        status["source"] = source
    if view.dispatcher:
        status["dispatcher"] = view.dispatcher
    started = old.get("startTime") or (timestamp(view.now) if view.progress and view.progress.started else None)
    if started:
        status["startTime"] = started
    if ended:
        status["completionTime"] = timestamp(view.now)
        status |= _results(view)
    status["conditions"] = merge(
        old.get("conditions") or (),
        [*_common(view, decision), *(_end_wishes(view, decision) if ended else _running_wishes(decision))],
        now=view.now,
        generation=view.generation,
    )
    return status


def task_counts(spec: ScanJobSpec | None, progress: JobProgress | None) -> dict[str, int]:
    """Tasks by state, without the plan: planning is our work, not the author's."""
    names = ("total", "queued", "running", "succeeded", "failed", "cancelled")
    zero = dict.fromkeys((*names, "cached", "retried"), 0)
    if progress is None:
        return zero
    planned = spec is not None and spec.scan is not None
    if planned and progress.total <= 1:
        return zero
    counts = zero | {name: getattr(progress, name) for name in names} | {"retried": progress.retried}
    if planned:
        counts["total"] -= 1
        counts["succeeded"] -= 1
    return counts


def _source(view: JobView) -> dict[str, Any]:
    """What is scanned, by content; it does not change once it is known."""
    if view.stored is not None:
        commits, archive = (view.stored.revision, view.stored.base_revision), view.stored.sha256
    elif view.plan is not None and view.plan.origin is not None and not view.status.get("source"):
        commits, archive = (view.plan.origin.commit, view.plan.origin.base_commit), ""
    else:
        return dict(view.status.get("source") or {})
    named = {"commit": commits[0], "baseCommit": commits[1], "archiveSha256": archive}
    return {name: value for name, value in named.items() if value}


def _verdict(view: JobView, *, ended: bool) -> Verdict:
    if not ended:
        return Verdict.PENDING
    return view.aggregate.verdict if view.aggregate is not None else Verdict.INCOMPLETE


def _results(view: JobView) -> dict[str, Any]:
    if view.aggregate is None:
        return {}
    found: dict[str, Any] = {}
    if view.aggregate.findings is not None:
        found["findings"] = dict(view.aggregate.findings)
    if view.aggregate.report is not None:
        found["report"] = dict(view.aggregate.report)
    if view.aggregate.results:
        found["results"] = [dict(result) for result in view.aggregate.results[:RESULTS_SHOWN]]
    return found


def _common(view: JobView, decision: JobDecision) -> list[Wish]:
    wishes = [_accepted(view)]
    planned = _planned(view)
    if planned is not None:
        wishes.append(planned)
    suspended = view.spec is not None and view.spec.suspend and decision.step is not Step.FINISH
    if suspended:
        wishes.append(
            Wish(ConditionType.SUSPENDED, True, Reason.SUSPENDED, "spec.suspend is set: nothing new is started")
        )
    elif any(c.get("type") == ConditionType.SUSPENDED for c in view.status.get("conditions") or ()):
        wishes.append(Wish(ConditionType.SUSPENDED, False, Reason.RESUMED, ""))
    return wishes


def _accepted(view: JobView) -> Wish:
    if view.refusal is not None:
        return Wish(ConditionType.ACCEPTED, False, view.refusal.reason, view.refusal.message)
    return Wish(ConditionType.ACCEPTED, True, Reason.ACCEPTED, _who_does_it(view))


def _who_does_it(view: JobView) -> str:
    routing = view.spec.routing if view.spec is not None else None
    if routing is None:
        return f"WorkerPool {view.pool} does the work"
    if view.progress is None:
        return "the WorkerPool is chosen when the tasks are queued"
    if routing.worker_name is not None:
        return f"worker {routing.worker_name} of WorkerPool {view.pool} does the work"
    return f"WorkerPool {view.pool} does the work, chosen by strategy {routing.strategy.value}"


def _planned(view: JobView) -> Wish | None:
    if view.spec is None or view.progress is None:
        return None
    if view.spec.scan is None:
        return Wish(ConditionType.PLANNED, True, Reason.PLANNED, counted(view.progress.total, "task"))
    if view.plan is not None and view.plan.error:
        return Wish(ConditionType.PLANNED, False, Reason.PLAN_FAILED, view.plan.error)
    if view.progress.total > 1:
        return Wish(ConditionType.PLANNED, True, Reason.PLANNED, counted(view.progress.total - 1, "task"))
    if view.plan is not None and not view.plan.shards:
        return Wish(ConditionType.PLANNED, True, Reason.PLANNED, "no file is looked at by the tools asked for")
    return Wish(ConditionType.PLANNED, False, Reason.PLANNING, "a worker lists the files and cuts them into tasks")


def _running_wishes(decision: JobDecision) -> list[Wish]:
    reason, message = _WORDS[decision.phase]
    if decision.waiting is not None:
        reason, message = decision.waiting.reason, decision.waiting.message
    return [
        Wish(ConditionType.READY, False, reason, message),
        Wish(ConditionType.RECONCILING, True, reason, message),
        Wish(ConditionType.STALLED, False, reason, ""),
    ]


def _end_wishes(view: JobView, decision: JobDecision) -> list[Wish]:
    if decision.ending is None:
        raise ValueError("a job that ends has an ending")
    reason, message = decision.ending.reason, decision.ending.message
    good = reason is Reason.COMPLETED
    wishes = []
    aggregate = view.aggregate
    if aggregate is not None and aggregate.report is not None:
        stored = f"{aggregate.report['bytes']} bytes, sha256 {aggregate.report['sha256']}"
        wishes.append(Wish(ConditionType.RESULTS_STORED, True, Reason.STORED, stored))
    elif aggregate is not None and aggregate.error:
        wishes.append(Wish(ConditionType.RESULTS_STORED, False, Reason.REPORT_FAILED, aggregate.error))
    elif aggregate is not None:
        wishes.append(Wish(ConditionType.RESULTS_STORED, True, Reason.STORED, "the results of all tasks are stored"))
    return [
        *wishes,
        Wish(ConditionType.COMPLETE, good, reason, message),
        Wish(ConditionType.FAILED, not good, reason, "" if good else message),
        Wish(ConditionType.READY, good, reason, message),
        Wish(ConditionType.RECONCILING, False, reason, ""),
        Wish(ConditionType.STALLED, not good, reason, "" if good else message),
    ]
