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
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mahavishnu_operator.api.workerpool import WorkerPoolSpec
from mahavishnu_operator.backends.protocol import ObservedWorker, WorkerPhase
from mahavishnu_operator.dispatch.protocol import PoolLoad, WorkerView

from .acceptance import Refusal

QUICK_DEATH_SECONDS = 30.0  # a worker that lived longer ends a crash streak
FIRST_BACKOFF_SECONDS = 1.0
LONGEST_BACKOFF_SECONDS = 60.0
CRASH_LOOP_STREAK = 3
REGISTER_SECONDS = 60.0  # a process that runs this long without a session is stuck


@dataclass(frozen=True, slots=True)
class CrashHistory:
    """How starts went lately. `streak`: generations of workers, one after the other, that died young."""

    streak: int = 0
    last_death_at: float = 0.0
    message: str = ""

    @property
    def backoff_seconds(self) -> float:
        """How long after the last death nothing is started: 0 without one, then 1, 2, 4 ... 60."""
        if self.streak == 0:
            return 0.0
        return min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(self.streak - 1, 10))

    @property
    def looping(self) -> bool:
        """Whether this is a crash loop."""
        return self.streak >= CRASH_LOOP_STREAK


@dataclass(frozen=True, slots=True)
class PoolState:
    """All that a decision depends on. Times are seconds since the Unix epoch.

    `spec` None: the pool is gone and its workers go. `asked_to_leave`: workers told to drain or stop by this process,
    whose end is no crash. `unregistered_since`: when a running worker was first seen without a session.
    """

    spec: WorkerPoolSpec | None
    now: float
    revision: str = ""
    refusal: Refusal | None = None
    observed: tuple[ObservedWorker, ...] = ()
    load: PoolLoad = field(default_factory=PoolLoad)
    crash: CrashHistory = CrashHistory()
    asked_to_leave: frozenset[str] = frozenset()
    unregistered_since: Mapping[str, float] = field(default_factory=dict)
    backend_error: str = ""


@dataclass(frozen=True, slots=True)
class Census:
    """Workers by what they are worth; each existing worker is in exactly one of the tuples but `old`.

    `idle` is sorted longest idle first, `busy` fewest leases first. `stuck` run without a session.
    """

    starting: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    busy: tuple[str, ...] = ()
    draining_idle: tuple[str, ...] = ()
    draining_busy: tuple[str, ...] = ()
    stopping: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    old: frozenset[str] = frozenset()  # started from another revision of the template

    @property
    def ready(self) -> int:
        """Workers that can take a task, or have one."""
        return len(self.idle) + len(self.busy)

    @property
    def active(self) -> int:
        """Workers that count towards the wanted number."""
        return len(self.starting) + self.ready

    @property
    def draining(self) -> int:
        """Workers on their way out."""
        return len(self.draining_idle) + len(self.draining_busy) + len(self.stopping)

    @property
    def existing(self) -> int:
        """Workers that exist and have not failed: what maxWorkers bounds and status.replicas shows."""
        return self.active + self.draining + len(self.stuck)


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
    crash: CrashHistory = CrashHistory()
    requeue_after: float | None = None


def wanted_workers(spec: WorkerPoolSpec | None, refusal: Refusal | None = None) -> int:
    """Replicas clamped to min..max; none while suspended, refused or gone."""
    if spec is None or refusal is not None or spec.suspend:
        return 0
    return max(spec.min_workers, min(spec.replicas, spec.max_workers))


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
        "pod": None if spec.kubernetes is None else spec.kubernetes.model_dump(mode="json", exclude={"network_policy"}),
    }
    return hashlib.sha256(json.dumps(matters, sort_keys=True).encode()).hexdigest()[:12]


def take_census(state: PoolState) -> Census:
    """Sort the workers that exist by joining what the backend and the dispatcher see."""
    views = {view.name: view for view in state.load.workers}
    groups: dict[str, list[str]] = {}
    for worker in state.observed:
        view = views.get(worker.name)
        groups.setdefault(_group(worker, view, state), []).append(worker.name)
    idle_since = {name: view.idle_since or 0.0 for name, view in views.items()}
    return Census(
        starting=tuple(sorted(groups.get("starting", ()))),
        idle=tuple(sorted(groups.get("idle", ()), key=lambda name: (idle_since[name], name))),
        busy=tuple(sorted(groups.get("busy", ()), key=lambda name: (views[name].held, name))),
        draining_idle=tuple(sorted(groups.get("draining_idle", ()))),
        draining_busy=tuple(sorted(groups.get("draining_busy", ()))),
        stopping=tuple(sorted(groups.get("stopping", ()))),
        stuck=tuple(sorted(groups.get("stuck", ()))),
        failed=tuple(sorted(groups.get("failed", ()))),
        old=frozenset(w.name for w in state.observed if w.revision and w.revision != state.revision),
    )


def _group(worker: ObservedWorker, view: WorkerView | None, state: PoolState) -> str:
    if worker.phase is WorkerPhase.FAILED:
        return "failed"
    if worker.phase is WorkerPhase.STOPPING:
        return "stopping"
    if view is None:
        if worker.name in state.asked_to_leave:
            return "draining_idle"
        since = state.unregistered_since.get(worker.name, state.now)
        return "stuck" if state.now - since >= REGISTER_SECONDS else "starting"
    if view.draining or worker.name in state.asked_to_leave:
        return "draining_busy" if view.held else "draining_idle"
    return "busy" if view.held else "idle"


def note_deaths(state: PoolState) -> CrashHistory:
    """The history after the failed workers that are there now; one that lived long enough ends a streak.

    Workers that were started before the last death belong to its generation: ten that die at one moment are one
    death, not ten.
    """
    crash = replace(state.crash, last_death_at=min(state.crash.last_death_at, state.now))  # clocks are put back
    lived = [w for w in state.observed if w.phase is WorkerPhase.RUNNING and w.started_at > crash.last_death_at]
    if crash.streak and any(state.now - worker.started_at >= QUICK_DEATH_SECONDS for worker in lived):
        crash = CrashHistory()
    dead = [w for w in state.observed if w.phase is WorkerPhase.FAILED and w.name not in state.asked_to_leave]
    for worker in sorted(dead, key=lambda w: (w.ended_at or state.now, w.name)):
        ended = min(worker.ended_at or state.now, state.now)
        if ended - worker.started_at >= QUICK_DEATH_SECONDS:
            crash = CrashHistory(streak=1, last_death_at=ended, message=worker.message)
        elif crash.streak and worker.started_at <= crash.last_death_at:
            crash = replace(crash, last_death_at=max(crash.last_death_at, ended), message=worker.message)
        else:
            crash = CrashHistory(streak=crash.streak + 1, last_death_at=ended, message=worker.message)
    return crash


def decide_pool(state: PoolState) -> PoolDecision:
    """What to start, drain, stop and remove now, and when to look again at the latest."""
    census = take_census(state)
    wanted = wanted_workers(state.spec, state.refusal)
    crash = note_deaths(state)
    if state.spec is None:
        everyone = (*census.starting, *census.idle, *census.busy, *census.draining_idle, *census.draining_busy)
        return PoolDecision(wanted=0, census=census, stop=(*everyone, *census.stuck), remove=census.failed, crash=crash)
    leaving = census.draining_idle + _surplus(census, wanted)
    if census.active <= wanted:
        leaving += _outdated(census, wanted)
    start, back_off = _starts(state, census, wanted, crash)
    return PoolDecision(
        wanted=wanted,
        census=census,
        start=start,
        drain=leaving,
        stop=census.stuck,
        remove=census.failed,
        crash=crash,
        requeue_after=_next_look(state, census, crash, back_off),
    )


def _surplus(census: Census, wanted: int) -> tuple[str, ...]:
    """Whom to drain in a scale-down: those that have not begun, then the longest idle, the busy ones last."""
    excess = census.active - wanted
    return (census.starting + census.idle + census.busy)[:excess] if excess > 0 else ()


def _outdated(census: Census, wanted: int) -> tuple[str, ...]:
    """Whom to replace for a changed template: a quarter of the pool at a time, idle ones before busy ones.

    A busy one finishes what it holds first, and is chosen only when no idle one is left.
    """
    at_once = max(1, math.ceil(wanted / 4))
    begun = tuple(name for name in census.starting if name in census.old)
    if begun:
        return begun  # nothing is lost with them, and they may never get further as they are
    idle = tuple(name for name in census.idle if name in census.old)
    moving = len(census.starting) + len(census.draining_idle) + len(census.stopping)
    if idle:
        return idle[: max(0, at_once - moving)]
    busy = tuple(name for name in census.busy if name in census.old)
    return busy[: max(0, at_once - moving - len(census.draining_busy))]


def _starts(state: PoolState, census: Census, wanted: int, crash: CrashHistory) -> tuple[int, float]:
    """How many to start now, and how many seconds starts are still held back."""
    if state.spec is None or state.backend_error:
        return 0, 0.0
    missing = min(wanted - census.active, state.spec.max_workers - census.existing)
    if missing <= 0:
        return 0, 0.0
    held_back = crash.last_death_at + crash.backoff_seconds - state.now if crash.streak else 0.0
    if held_back > 0:
        return 0, held_back
    return (1 if crash.looping else missing), 0.0  # in a crash loop one worker tries for all


def _next_look(state: PoolState, census: Census, crash: CrashHistory, back_off: float) -> float | None:
    """Seconds until time alone changes the decision; None when only an event can."""
    moments = []
    if back_off > 0:
        moments.append(back_off)
    if crash.streak and census.active:
        moments.append(QUICK_DEATH_SECONDS)
    for name in census.starting:
        since = state.unregistered_since.get(name, state.now)
        moments.append(max(0.05, REGISTER_SECONDS - (state.now - since)))
    if census.stuck or state.backend_error:
        moments.append(5.0)
    return min(moments) if moments else None
