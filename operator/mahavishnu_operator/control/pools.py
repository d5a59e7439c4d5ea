"""What a pool should do next: a pure decision on what there is now.

The pressure: every worker pool that failed in public failed here. It killed busy workers, counted dead ones as
capacity, started the same worker twice after a stale read, or restarted a crashing one for ever. What must stay
true: while its pool exists, a worker that holds a lease is marked draining at most and never in `stop`; failed
workers are no capacity; starts in flight count against maxWorkers; everything is derived from PoolState, so a
decision made twice does no harm.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from mahavishnu_operator.api.workerpool import AutoscalingMode, WorkerPoolSpec

from .acceptance import Refusal
from .census import Census, PoolState, pending_left, take_census
from .crashes import QUICK_DEATH_SECONDS, REGISTER_SECONDS, CrashHistory, note_deaths
from .exchanging import decide_exchange


@dataclass(frozen=True, slots=True)
class PoolDecision:
    """What to do: remove, drain, stop, start.

    Names in `drain` are drained by the dispatcher and stopped only if it then says that they hold nothing; those in
    `stop` have no session, or their pool is gone; those in `remove` are dead. `start` is a number, because names are
    never used twice.
    """

    wanted: int
    census: Census
    start: int = 0
    drain: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    crash: CrashHistory = field(default_factory=CrashHistory)
    requeue_after: float | None = None


def wanted_workers(spec: WorkerPoolSpec | None, refusal: Refusal | None = None) -> int:
    """Replicas clamped to min..max; none while suspended, refused or gone."""
    if spec is None or refusal is not None or spec.suspend:
        return 0
    return max(spec.min_workers, min(spec.replicas, spec.max_workers))


def expected_workers(spec: WorkerPoolSpec) -> int:
    """How many workers a pool is going to have for new work: those it wants, in mode Internal one step more."""
    wanted = wanted_workers(spec)
    if spec.autoscaling.mode is not AutoscalingMode.INTERNAL or spec.suspend:
        return wanted
    return max(wanted, min(wanted + spec.autoscaling.scale_up_step, spec.max_workers))


def template_revision(spec: WorkerPoolSpec, uid: str, *, installation: str = "") -> str:
    """A digest of what a running worker cannot learn any more: when it changes, workers are replaced.

    The pool's UID is part of it: a pool that was deleted and made again does not keep the workers of the first. So is
    what the installation gives its workers (see Backend.installation): an upgrade replaces those of the version before.
    """
    matters = {
        "pool": uid,
        "installation": installation,
        "backend": spec.backend.value,
        "workerType": spec.worker_type.value,
        "slots": spec.slots_per_worker,
        "graceSeconds": spec.drain.grace_seconds,
        "isolation": spec.isolation.value,
        "pod": None if spec.kubernetes is None else spec.kubernetes.model_dump(mode="json", exclude={"network_policy"}),
    }
    return hashlib.sha256(json.dumps(matters, sort_keys=True).encode()).hexdigest()[:12]


def decide_pool(state: PoolState) -> PoolDecision:
    """What to start, drain, stop and remove now, and when to look again at the latest."""
    census = take_census(state)
    wanted = wanted_workers(state.spec, state.refusal)
    crash = note_deaths(
        state.crash,
        state.observed,
        now=state.now,
        asked_to_leave=state.asked_to_leave,
        stuck=census.stuck,
        unregistered=frozenset(state.unregistered_since),
    )
    if state.spec is None:
        everyone = (*census.starting, *census.idle, *census.busy, *census.draining_idle, *census.draining_busy)
        return PoolDecision(wanted=0, census=census, stop=(*everyone, *census.stuck), remove=census.failed, crash=crash)
    most = state.spec.max_workers
    missing = max(0, min(wanted - census.active - len(census.retired), most - census.existing))
    exchange = decide_exchange(census, wanted=wanted, most=most, coming=missing)
    start, back_off = _starts(state, missing + exchange.surge, crash)
    untold = tuple(n for n in census.draining_busy if n in census.retired and n not in state.asked_to_leave)
    return PoolDecision(
        wanted=wanted,
        census=census,
        start=start,
        drain=(*census.draining_idle, *untold, *exchange.leave),
        stop=census.stuck,
        remove=census.failed,
        crash=crash,
        requeue_after=min(_moments(state, census, crash, back_off), default=None),
    )


def _starts(state: PoolState, missing: int, crash: CrashHistory) -> tuple[int, float]:
    """How many to start now, and how many seconds starts are still held back."""
    if missing <= 0 or state.backend_error:
        return 0, 0.0
    held_back = crash.last_death_at + crash.backoff_seconds - state.now if crash.streak else 0.0
    if held_back > 0:
        return 0, held_back
    return (1 if crash.looping else missing), 0.0  # in a crash loop one worker tries for all


def _moments(state: PoolState, census: Census, crash: CrashHistory, back_off: float) -> Iterator[float]:
    """In how many seconds time alone may change the decision, or what is said of it."""
    if back_off > 0:
        yield back_off
    if crash.streak and census.active:
        yield QUICK_DEATH_SECONDS
    for name in census.starting:
        since = state.unregistered_since.get(name, state.now)
        yield max(0.05, REGISTER_SECONDS - (state.now - since))
    if census.stuck or state.backend_error:
        yield 5.0
    for worker in state.observed:
        left = pending_left(worker, state.now)
        if left:
            yield left
    recycle = state.spec.recycle if state.spec is not None else None
    if recycle is not None and recycle.max_age_seconds is not None:
        for worker in state.observed:
            young = recycle.max_age_seconds - (state.now - worker.started_at)
            if young > 0:
                yield young
