"""How many workers a pool in mode Internal should want: a pure decision on its backlog and its idle workers.

The pressure: an autoscaler that forgets the workers on their way makes too many, one that follows every moment goes up
and down without end, and one that counts work which nobody can do, or workers which cannot start, never stops. What
must stay true: at most one step in a cooldown, and never beyond what there are tasks for; what is on its way counts as
there; a worker goes only after it was idle for the time the pool says, so never a busy one; minWorkers and maxWorkers
hold; equal states give equal decisions, so whoever forgets everything decides the same again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mahavishnu_operator.api.reasons import Reason
from mahavishnu_operator.api.workerpool import AutoscalingMode, WorkerPoolSpec

from .census import PoolState, trouble_of
from .pools import PoolDecision

COOLDOWN_SECONDS = 10.0  # after a change of the wanted number, whoever made it; a pool at zero does not wait


@dataclass(frozen=True, slots=True)
class Hindrance:
    """Why more workers would not help: those on their way cannot start."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class ScaleState:
    """All that the decision depends on. Durations are measured by a clock that is never put back.

    `wanted`: replicas within minWorkers..maxWorkers, so workers on their way and those that failed are in it.
    `backlog`: queued tasks that more workers could run; `running`: leased ones. `idle_seconds`: for how long each idle
    worker has been idle; `pool_idle_seconds`: for how long there has been nothing to do, None while there is.
    `changed_seconds_ago`: when the wanted number changed last, None if never; what lies in the future after a clock was
    put back is long ago.
    """

    spec: WorkerPoolSpec
    wanted: int
    backlog: int = 0
    running: int = 0
    idle_seconds: tuple[float, ...] = ()
    pool_idle_seconds: float | None = None
    changed_seconds_ago: float | None = None
    hindrance: Hindrance | None = None


@dataclass(frozen=True, slots=True)
class ScaleDecision:
    """`replicas`: what to write, None for nothing; `reason` and `message`: why, or why not what would be useful.

    `look_again`: in how many seconds time alone may change the decision.
    """

    replicas: int | None = None
    reason: Reason = Reason.STEADY
    message: str = ""
    look_again: float | None = None


STEADY = ScaleDecision()


def scale_state(state: PoolState, decision: PoolDecision, *, changed_at: float | None) -> ScaleState | None:
    """What decide_scale needs of a pool; None for one that cannot have workers. `changed_at`: of status.lastScale."""
    if state.spec is None or state.refusal is not None:
        return None
    idle = {view.name: view.idle_seconds for view in state.load.workers}
    return ScaleState(
        spec=state.spec,
        wanted=decision.wanted,
        backlog=state.load.backlog,
        running=state.load.running,
        idle_seconds=tuple(idle[name] or 0.0 for name in decision.census.idle),
        pool_idle_seconds=state.load.idle_seconds,
        changed_seconds_ago=None if changed_at is None else state.now - changed_at,
        hindrance=_hindrance(state, decision),
    )


def _hindrance(state: PoolState, decision: PoolDecision) -> Hindrance | None:
    if state.backend_error:
        return Hindrance(Reason.BACKEND_ERROR, state.backend_error)
    if decision.crash.looping:
        return Hindrance(Reason.CRASH_LOOP, decision.crash.message)
    trouble = trouble_of(state)
    return None if trouble is None else Hindrance(trouble.reason, trouble.message)


def decide_scale(state: ScaleState) -> ScaleDecision:
    """What to write to replicas now. Nothing in the modes Off and HPA, nor while the pool is suspended."""
    spec = state.spec
    if spec.autoscaling.mode is not AutoscalingMode.INTERNAL or spec.suspend:
        return STEADY
    if state.backlog > spec.autoscaling.scale_up_threshold * state.wanted:
        return _scale_up(state)
    if state.backlog == 0 and state.wanted > spec.min_workers:
        return _scale_down(state)
    return STEADY


def _scale_up(state: ScaleState) -> ScaleDecision:
    spec, wanted = state.spec, state.wanted
    waiting = f"{state.backlog} tasks wait for {wanted} workers"
    useful = math.ceil((state.backlog + state.running) / spec.slots_per_worker)
    target = min(wanted + spec.autoscaling.scale_up_step, useful, spec.max_workers)
    if wanted >= spec.max_workers:
        return ScaleDecision(reason=Reason.AT_MAXIMUM, message=f"{waiting}, and maxWorkers is {spec.max_workers}")
    if target <= wanted:
        return STEADY
    if state.hindrance is not None:
        why = f"{waiting}, but those on their way cannot start: {state.hindrance.message}"
        return ScaleDecision(reason=state.hindrance.reason, message=why)
    if wanted == 0:
        return ScaleDecision(target, Reason.TASKS_WAITING, f"{state.backlog} tasks wait for a first worker")
    threshold = spec.autoscaling.scale_up_threshold
    return _cooled(state, ScaleDecision(target, Reason.BACKLOG_HIGH, f"{waiting}, over {threshold} for each"))


def _scale_down(state: ScaleState) -> ScaleDecision:
    spec, wanted = state.spec, state.wanted
    patience = float(spec.autoscaling.scale_down_idle_seconds)
    whole = _whole_pool_idle(state)
    if whole is not None and whole >= patience:
        target = spec.min_workers  # also those on their way, which nothing waits for
    else:
        long_idle = sum(1 for seconds in state.idle_seconds if seconds >= patience)
        target = max(spec.min_workers, wanted - long_idle)
    if target < wanted:
        words = f"idle for {patience:g} s: {wanted - target} workers"
        return _cooled(state, ScaleDecision(target, Reason.WORKERS_IDLE, words))
    idle = (*state.idle_seconds, *(() if whole is None else (whole,)))
    return ScaleDecision(look_again=min((patience - seconds for seconds in idle if seconds < patience), default=None))


def _whole_pool_idle(state: ScaleState) -> float | None:
    """For how long there has been nothing to do since the wanted number changed last: who scales up gets that time."""
    idle, ago = state.pool_idle_seconds, state.changed_seconds_ago
    return idle if idle is None or ago is None or ago < 0 else min(idle, ago)


def _cooled(state: ScaleState, decision: ScaleDecision) -> ScaleDecision:
    """The decision, or that it has to wait until the last change could show what it brought."""
    ago = state.changed_seconds_ago
    if ago is None or not 0 <= ago < COOLDOWN_SECONDS:
        return decision
    left = COOLDOWN_SECONDS - ago
    return ScaleDecision(reason=Reason.COOLING_DOWN, message=decision.message, look_again=left)
