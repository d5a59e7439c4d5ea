"""What a pool with isolation PerTask should do next: a pure decision on its tasks and the workers made for them.

Such a worker is made for one task, leases one, and goes. The pressure: whoever counts only the workers that have
registered makes a second one for the same task while the first is still being placed, and a third while its image is
pulled; whoever counts those that have done their task makes too few. What must stay true: no more workers are made
than tasks could be leased now, less those that are on their way to take one; never more than maxWorkers exist; a
worker that holds a lease, registered or not, is left alone; while one cannot start as things are, no more are made
for it to wait with; a task that dies of itself is no failure of the pool.
"""

from __future__ import annotations

from dataclasses import replace

from mahavishnu_operator.api.reasons import FailureClass, Reason
from mahavishnu_operator.api.workerpool import Isolation, WorkerPoolSpec
from mahavishnu_operator.backends.protocol import ObservedWorker, WorkerPhase
from mahavishnu_operator.dispatch.protocol import WorkerView
from mahavishnu_operator.resources.protocol import Obj

from .census import Census, PoolState, Trouble, is_outdated
from .crashes import REGISTER_SECONDS, CrashHistory
from .pools import PoolDecision

POD_SECONDS = 30.0  # a Job without a Pod for that long: the Job controller's Pod is refused


def is_per_task(spec: WorkerPoolSpec | None) -> bool:
    """Whether a pool's workers are made for one task each."""
    return spec is not None and spec.isolation is Isolation.PER_TASK


def asks_for_pods(pool: Obj | None) -> bool:
    """The same of a pool as it is stored: its tasks wait for workers that are to be made yet."""
    return pool is not None and (pool.get("spec") or {}).get("isolation") == Isolation.PER_TASK


def decide_per_task(state: PoolState) -> PoolDecision:
    """What to start, drain, stop and remove now, and when to look again at the latest."""
    census = take_census(state)
    crash = note_starts(state)
    tasks = state.demand.tasks if _may_start(state) else 0
    coming = len(census.starting) + len(census.idle)
    start, back_off = _starts(state, census, tasks - coming, crash)
    return PoolDecision(
        wanted=len(census.busy) + min(tasks, coming + start),
        census=census,
        start=start,
        drain=_not_needed(state, census, coming - tasks),
        stop=census.stuck,
        remove=tuple(sorted(w.name for w in state.observed if w.phase in (WorkerPhase.FAILED, WorkerPhase.FINISHED))),
        crash=crash,
        requeue_after=_next_look(state, census, crash, back_off),
    )


def take_census(state: PoolState) -> Census:
    """Sort the workers that exist. `starting` and `idle` will take a task each, `draining_idle` had theirs."""
    views = {view.name: view for view in state.load.workers}
    groups: dict[str, list[ObservedWorker]] = {}
    for worker in state.observed:
        groups.setdefault(_group(worker, views.get(worker.name), state), []).append(worker)

    def names(group: str) -> tuple[str, ...]:
        # The youngest first: it is the farthest from its task, if one of them is not needed.
        found = sorted(groups.get(group, ()), key=lambda worker: (-worker.started_at, worker.name))
        return tuple(worker.name for worker in found)

    return Census(
        starting=names("starting"),
        idle=names("idle"),
        busy=names("busy"),
        draining_idle=names("leaving"),
        stopping=names("stopping"),
        stuck=names("stuck"),
        failed=names("failed"),
        spent=frozenset(w.name for w in state.observed if is_outdated(w, views.get(w.name), state)),
    )


def _group(worker: ObservedWorker, view: WorkerView | None, state: PoolState) -> str:
    if worker.phase is WorkerPhase.FINISHED:
        return "finished"
    if worker.phase is WorkerPhase.FAILED:
        return "failed"
    if worker.name in state.demand.holding or (view is not None and view.held):
        return "busy"
    if worker.phase is WorkerPhase.STOPPING:
        return "stopping"
    if view is None:
        since = state.unregistered_since.get(worker.name, state.now)
        if state.now - since >= REGISTER_SECONDS:
            return "stuck"
        gone = worker.name in state.demand.left or worker.name in state.asked_to_leave
        return "leaving" if gone else "starting"
    return "leaving" if view.spent or view.draining or worker.name in state.asked_to_leave else "idle"


def note_starts(state: PoolState) -> CrashHistory:
    """How starts went: workers that failed before they had a task, one generation after the other.

    One that got a task, or was disrupted from outside, says nothing against the next start; one that got its task, or
    has ended well, ends a streak.
    """
    crash = replace(state.crash, last_death_at=min(state.crash.last_death_at, state.now))  # clocks are put back
    served = {view.name for view in state.load.workers if view.held or view.spent}
    served |= state.demand.holding | state.demand.left
    served |= {worker.name for worker in state.observed if worker.phase is WorkerPhase.FINISHED}
    if any(worker.name in served and worker.started_at > crash.last_death_at for worker in state.observed):
        crash = CrashHistory()
    dead = [
        worker
        for worker in state.observed
        if worker.phase is WorkerPhase.FAILED
        and worker.failure is not FailureClass.DISRUPTED
        and worker.name not in served
        and worker.name not in state.asked_to_leave
    ]
    for worker in sorted(dead, key=lambda w: (w.ended_at or state.now, w.name)):
        ended = min(worker.ended_at or state.now, state.now)
        same = crash.streak > 0 and worker.started_at <= crash.last_death_at
        streak = crash.streak if same else crash.streak + 1
        crash = CrashHistory(streak, max(crash.last_death_at, ended), worker.message)
    return crash


def cannot_start(state: PoolState) -> list[ObservedWorker]:
    """The workers that wait for what does not come by itself, or soon; among them those without a Pod."""
    return [
        worker
        for worker in state.observed
        if worker.phase is WorkerPhase.STARTING
        and (worker.trouble is not None or (worker.without_pod and state.now - worker.started_at >= POD_SECONDS))
    ]


def trouble_of(state: PoolState) -> Trouble | None:
    """What keeps workers from starting, that no node takes one before others."""
    found = [(w.trouble is not Reason.UNSCHEDULABLE, w.name, w.trouble, w.message) for w in cannot_start(state)]
    if not found:
        return None
    _, name, reason, message = min(found, key=lambda each: each[:2])
    return Trouble(reason or Reason.START_FAILED, f"worker {name}: {message}")


def _may_start(state: PoolState) -> bool:
    return state.spec is not None and state.refusal is None and not state.spec.suspend


def _starts(state: PoolState, census: Census, missing: int, crash: CrashHistory) -> tuple[int, float]:
    """How many to start now, and how many seconds starts are still held back."""
    if state.spec is None or state.backend_error or not _may_start(state):
        return 0, 0.0
    missing = min(missing, state.spec.max_workers - census.existing)
    if missing <= 0 or any(worker.name not in census.spent for worker in cannot_start(state)):
        return 0, 0.0
    held_back = crash.last_death_at + crash.backoff_seconds - state.now if crash.streak else 0.0
    if held_back > 0:
        return 0, held_back
    return (1 if crash.looping else missing), 0.0  # in a crash loop one worker tries for all


def _not_needed(state: PoolState, census: Census, surplus: int) -> tuple[str, ...]:
    """Whom to send away: those made from an earlier template that have no task yet, and those without one to take.

    Draining asks the dispatcher first, which knows whether one that has not registered holds a lease.
    """
    waiting = census.starting + census.idle
    old = tuple(name for name in waiting if name in census.spent)
    others = tuple(name for name in waiting if name not in census.spent)
    asked = tuple(name for name in census.draining_idle if name in state.asked_to_leave)
    return asked + old + others[: max(0, surplus - len(old))]


def _next_look(state: PoolState, census: Census, crash: CrashHistory, back_off: float) -> float | None:
    """Seconds until time alone changes the decision; None when only an event can."""
    moments = []
    if back_off > 0:
        moments.append(back_off)
    if state.demand.ripe_in is not None and _may_start(state):
        moments.append(max(0.05, state.demand.ripe_in))
    for name, since in state.unregistered_since.items():
        if name not in census.stuck:
            moments.append(max(0.05, REGISTER_SECONDS - (state.now - since)))
    for worker in state.observed:
        if worker.phase is WorkerPhase.STARTING and worker.without_pod:
            age = state.now - worker.started_at
            moments.append(max(0.05, POD_SECONDS - age) if age < POD_SECONDS else POD_SECONDS)
    if census.stuck or state.backend_error:
        moments.append(5.0)
    return min(moments) if moments else None
