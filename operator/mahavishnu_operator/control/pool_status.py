"""The status of a WorkerPool from a decision on it: pure.

What must stay true: status.replicas counts workers that exist and have not failed (it is what /scale and an HPA
read); every condition is always there; equal states give equal statuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mahavishnu_operator.api.reasons import ConditionType, Label, Reason
from mahavishnu_operator.support.text import counted

from . import census as warm
from . import per_task
from .autoscaling import STEADY, ScaleDecision
from .census import PoolState, Trouble
from .conditions import Wish, merge, timestamp
from .crashes import QUICK_DEATH_SECONDS
from .pools import PoolDecision

WORKERS_SHOWN = 64


def pool_status(
    state: PoolState,
    decision: PoolDecision,
    *,
    name: str,
    generation: int,
    old: Mapping[str, Any],
    scaling: ScaleDecision = STEADY,
    died: int = 0,
) -> dict[str, Any]:
    """The status to write; `old` is what was written last, `scaling` what the autoscaler says, `died` workers since."""
    census, load = decision.census, state.load
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "replicas": census.existing,
        "selector": f"{Label.POOL}={name}",
        "ready": census.ready,
        "idle": len(census.idle),
        "busy": len(census.busy),
        "draining": census.draining,
        "failed": len(census.failed) + len(census.stuck),
        "pendingTasks": load.queued,
        "runningTasks": load.running,
        "completedTotal": load.completed_total,
        "failedTotal": load.failed_total,
        "conditions": merge(
            old.get("conditions") or (), _wishes(state, decision, scaling), now=state.now, generation=generation
        ),
    }
    if not per_task.is_per_task(state.spec):
        status["workers"] = sorted((*census.idle, *census.busy))[:WORKERS_SHOWN]
    if load.idle_since is not None:
        status["idleSince"] = _idle_since(timestamp(load.idle_since), status, old)
    if died or "failedWorkersTotal" in old:
        status["failedWorkersTotal"] = old.get("failedWorkersTotal", 0) + died
    last = last_scale(state, decision, old.get("lastScale"))
    if last:
        status["lastScale"] = last
    return status


def last_scale(state: PoolState, decision: PoolDecision, old: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The latest change of the wanted number: the one in `old`, or a new one made now."""
    if per_task.is_per_task(state.spec):
        return None  # its number follows its tasks: each would be an event
    before = old["to"] if old else 0
    if decision.wanted == before:
        return dict(old) if old else None
    if state.refusal is not None:
        reason = state.refusal.reason
    elif state.spec is not None and state.spec.suspend:
        reason = Reason.POOL_SUSPENDED
    elif state.scaled is not None and state.scaled[0] == decision.wanted:
        reason = state.scaled[1]
    else:
        reason = Reason.SCALING_UP if decision.wanted > before else Reason.SCALING_DOWN
    return {"time": timestamp(state.now), "from": before, "to": decision.wanted, "reason": reason.value}


def _idle_since(moment: str, new: Mapping[str, Any], old: Mapping[str, Any]) -> str:
    """An earlier moment stays while no task has ended since: a restarted operator has not seen what was before it."""
    before = old.get("idleSince")
    ended = ("completedTotal", "failedTotal")
    return before if before and before < moment and all(old.get(n, 0) == new[n] for n in ended) else moment


def _wishes(state: PoolState, decision: PoolDecision, scaling: ScaleDecision) -> list[Wish]:
    ready = _ready(state, decision)
    settled = ready.status is True and (per_task.is_per_task(state.spec) or not _moving(decision))
    stalled = state.refusal is not None or decision.crash.looping
    return [
        _accepted(state),
        ready,
        _backend(state),
        _scaling(state, decision, scaling),
        _blocked(decision),
        _unschedulable(state),
        Wish(
            ConditionType.RECONCILING,
            not settled and not stalled,
            Reason.STEADY if settled else ready.reason,
            "" if settled else ready.message,
        ),
        Wish(ConditionType.STALLED, stalled, ready.reason, ready.message if stalled else ""),
    ]


def _accepted(state: PoolState) -> Wish:
    if state.refusal is not None:
        return Wish(ConditionType.ACCEPTED, False, state.refusal.reason, state.refusal.message)
    return Wish(ConditionType.ACCEPTED, True, Reason.ACCEPTED, "every field set is acted on")


def _backend(state: PoolState) -> Wish:
    if state.refusal is not None:
        return Wish(ConditionType.BACKEND_REACHABLE, None, state.refusal.reason, "not asked: the pool was refused")
    if state.backend_error:
        return Wish(ConditionType.BACKEND_REACHABLE, False, Reason.BACKEND_ERROR, state.backend_error)
    return Wish(ConditionType.BACKEND_REACHABLE, True, Reason.BACKEND_OK)


def _ready(state: PoolState, decision: PoolDecision) -> Wish:
    census, wanted = decision.census, decision.wanted
    if state.refusal is not None:
        return Wish(ConditionType.READY, False, state.refusal.reason, state.refusal.message)
    if state.backend_error:
        return Wish(ConditionType.READY, False, Reason.BACKEND_ERROR, state.backend_error)
    if decision.crash.looping:
        return Wish(
            ConditionType.READY,
            False,
            Reason.CRASH_LOOP,
            f"{decision.crash.streak} times in a row a worker died within {QUICK_DEATH_SECONDS:g} s of its start; "
            f"the next start waits {decision.crash.backoff_seconds:g} s. "
            f"The last one said: {decision.crash.message or 'nothing'}",
        )
    if state.spec is not None and state.spec.suspend:
        return Wish(ConditionType.READY, True, Reason.POOL_SUSPENDED, "spec.suspend is set: no worker is wanted")
    trouble = _trouble_of(state)
    if per_task.is_per_task(state.spec):
        if trouble is not None:
            return Wish(ConditionType.READY, False, trouble.reason, trouble.message)
        return Wish(ConditionType.READY, True, Reason.POD_PER_TASK, "a Pod is made for each task that may run now")
    if wanted == 0:
        return Wish(ConditionType.READY, True, Reason.SCALED_TO_ZERO, "no worker is wanted")
    if census.ready < wanted and trouble is not None:
        return Wish(ConditionType.READY, False, trouble.reason, trouble.message)
    if census.ready < wanted:
        return Wish(
            ConditionType.READY, False, Reason.SCALING_UP, f"{census.ready} of {counted(wanted, 'worker')} ready"
        )
    return Wish(ConditionType.READY, True, Reason.WORKERS_READY, f"{counted(wanted, 'worker')} wanted and ready")


def _unschedulable(state: PoolState) -> Wish:
    trouble = _trouble_of(state)
    if trouble is None or trouble.reason is not Reason.UNSCHEDULABLE:
        return Wish(ConditionType.UNSCHEDULABLE, False, Reason.STEADY)
    return Wish(ConditionType.UNSCHEDULABLE, True, Reason.UNSCHEDULABLE, trouble.message)


def _trouble_of(state: PoolState) -> Trouble | None:
    return per_task.trouble_of(state) if per_task.is_per_task(state.spec) else warm.trouble_of(state)


def _moving(decision: PoolDecision) -> bool:
    census = decision.census
    return bool(decision.start or decision.drain or decision.stop or census.draining or census.starting)


def _scaling(state: PoolState, decision: PoolDecision, scaling: ScaleDecision) -> Wish:
    census, wanted = decision.census, decision.wanted
    if state.refusal is not None and not census.existing:
        return Wish(ConditionType.SCALING_ACTIVE, False, state.refusal.reason, state.refusal.message)
    if state.spec is not None and state.spec.suspend and not census.existing:
        return Wish(ConditionType.SCALING_ACTIVE, False, Reason.POOL_SUSPENDED)
    if per_task.is_per_task(state.spec):
        starting = bool(census.starting)
        return Wish(ConditionType.SCALING_ACTIVE, starting, Reason.SCALING_UP if starting else Reason.STEADY)
    if census.ready < wanted:
        return Wish(ConditionType.SCALING_ACTIVE, True, Reason.SCALING_UP, f"{counted(wanted, 'worker')} wanted")
    if census.existing > wanted:
        return Wish(ConditionType.SCALING_ACTIVE, True, Reason.SCALING_DOWN, f"{counted(wanted, 'worker')} wanted")
    if scaling.replicas is None:
        return Wish(ConditionType.SCALING_ACTIVE, False, scaling.reason, scaling.message)
    return Wish(ConditionType.SCALING_ACTIVE, False, Reason.STEADY)


def _blocked(decision: PoolDecision) -> Wish:
    census = decision.census
    busy = [*census.draining_busy, *(name for name in decision.drain if name in census.busy)]
    if busy and census.existing > decision.wanted:
        named = ", ".join(sorted(busy)[:5])
        return Wish(
            ConditionType.SCALE_DOWN_BLOCKED,
            True,
            Reason.WORKERS_BUSY,
            f"{counted(len(busy), 'worker')} to finish what runs before stopping: {named}",
        )
    return Wish(ConditionType.SCALE_DOWN_BLOCKED, False, Reason.STEADY)
