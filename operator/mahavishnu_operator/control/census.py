"""What there is of a pool, and its workers sorted by what they are worth: pure.

The pressure: a worker has two witnesses, its backend and the dispatcher, and those who believe one alone count dead
ones as capacity. What must stay true: each worker that exists is in exactly one group; one that failed, is stuck or has
not begun is not ready; everything is derived from PoolState.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mahavishnu_operator.api.reasons import Reason
from mahavishnu_operator.api.workerpool import WorkerPoolSpec
from mahavishnu_operator.backends.protocol import ObservedWorker, WorkerPhase
from mahavishnu_operator.dispatch.protocol import NO_DEMAND, Demand, PoolLoad, WorkerView

from .acceptance import Refusal
from .crashes import REGISTER_SECONDS, CrashHistory

PENDING_SECONDS = 300.0  # a worker that has not begun for this long is said to be in trouble, whatever the reason


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
    demand: Demand = NO_DEMAND  # of a pool whose workers are made for one task each
    crash: CrashHistory = field(default_factory=CrashHistory)
    asked_to_leave: frozenset[str] = frozenset()
    unregistered_since: Mapping[str, float] = field(default_factory=dict)
    backend_error: str = ""
    scaled: tuple[int, Reason] | None = None  # the number that our autoscaler wrote last, and why


@dataclass(frozen=True, slots=True)
class Trouble:
    """A worker that cannot start as things are, and why."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Census:
    """Workers by what they are worth; each existing worker is in exactly one of the tuples up to `failed`.

    `idle` is sorted longest idle first, `busy` fewest leases first. `stuck` run without a session. `retired`, of the
    draining ones: those that spec.retireWorkers names, whose place is not filled while they are there.
    """

    starting: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    busy: tuple[str, ...] = ()
    draining_idle: tuple[str, ...] = ()
    draining_busy: tuple[str, ...] = ()
    stopping: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    retired: frozenset[str] = frozenset()
    # To be replaced: of another revision of the template, due by spec.recycle, or on a machine that takes no new work.
    spent: frozenset[str] = frozenset()

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


def take_census(state: PoolState) -> Census:
    """Sort the workers that exist by joining what the backend and the dispatcher see."""
    views = {view.name: view for view in state.load.workers}
    groups: dict[str, list[str]] = {}
    for worker in state.observed:
        groups.setdefault(_group(worker, views.get(worker.name), state), []).append(worker.name)
    idle_for = {name: view.idle_seconds or 0.0 for name, view in views.items()}
    leaving = (*groups.get("draining_idle", ()), *groups.get("draining_busy", ()), *groups.get("stopping", ()))
    return Census(
        starting=tuple(sorted(groups.get("starting", ()))),
        idle=tuple(sorted(groups.get("idle", ()), key=lambda name: (-idle_for[name], name))),
        busy=tuple(sorted(groups.get("busy", ()), key=lambda name: (views[name].held, name))),
        draining_idle=tuple(sorted(groups.get("draining_idle", ()))),
        draining_busy=tuple(sorted(groups.get("draining_busy", ()))),
        stopping=tuple(sorted(groups.get("stopping", ()))),
        stuck=tuple(sorted(groups.get("stuck", ()))),
        failed=tuple(sorted(groups.get("failed", ()))),
        retired=_retiring(state) & frozenset(leaving),
        spent=frozenset(w.name for w in state.observed if _is_spent(w, views.get(w.name), state)),
    )


def _retiring(state: PoolState) -> frozenset[str]:
    return frozenset(state.spec.retire_workers) if state.spec is not None else frozenset()


def _group(worker: ObservedWorker, view: WorkerView | None, state: PoolState) -> str:
    leaves = worker.name in state.asked_to_leave or worker.name in _retiring(state)
    if worker.phase in (WorkerPhase.FAILED, WorkerPhase.FINISHED):
        return "failed"
    if worker.phase is WorkerPhase.STOPPING:
        return "stopping"
    if view is None:
        if leaves:
            return "draining_idle"
        since = state.unregistered_since.get(worker.name, state.now)
        return "stuck" if state.now - since >= REGISTER_SECONDS else "starting"
    if view.draining or leaves:
        return "draining_busy" if view.held else "draining_idle"
    return "busy" if view.held else "idle"


def is_outdated(worker: ObservedWorker, view: WorkerView | None, state: PoolState) -> bool:
    """Whether it is of another revision of the template, or on a machine that takes no new work."""
    return bool(worker.revision and worker.revision != state.revision) or (view is not None and view.cordoned)


def _is_spent(worker: ObservedWorker, view: WorkerView | None, state: PoolState) -> bool:
    if is_outdated(worker, view, state):
        return True
    recycle = state.spec.recycle if state.spec is not None else None
    if recycle is None or view is None:
        return False
    done, age = view.tasks_done, state.now - worker.started_at
    return (recycle.max_tasks is not None and done >= recycle.max_tasks) or (
        recycle.max_age_seconds is not None and age >= recycle.max_age_seconds
    )


def trouble_of(state: PoolState) -> Trouble | None:
    """What keeps workers from starting: that no node takes one comes first, that one is merely late comes last."""
    found = [(w.trouble is not Reason.UNSCHEDULABLE, w.name, w.trouble, w.message) for w in state.observed if w.trouble]
    if found:
        _, name, reason, message = min(found)
        return Trouble(reason, f"worker {name}: {message}")
    late = min((w for w in state.observed if pending_left(w, state.now) == 0), key=lambda w: w.name, default=None)
    if late is None:
        return None
    why = late.message or "its backend does not say why"
    return Trouble(Reason.PENDING_TOO_LONG, f"worker {late.name} has not begun for {PENDING_SECONDS:g} s: {why}")


def pending_left(worker: ObservedWorker, now: float) -> float | None:
    """Seconds until a worker that has not begun is late; None for others."""
    if worker.phase is not WorkerPhase.STARTING:
        return None
    return max(0.0, PENDING_SECONDS - (now - worker.started_at))
