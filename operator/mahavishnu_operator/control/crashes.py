"""How starts of a pool's workers went lately, and how long the next one waits: pure.

The pressure: a worker that cannot live is restarted for ever, as fast as the machine can, and its last words scroll by
unread. What must stay true: the wait doubles with each generation of workers that died young or never came to work, and
one that works for half a minute ends it; whoever was asked to leave has not crashed; a clock that was put back holds
nothing back for longer than the back-off.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from mahavishnu_operator.backends.protocol import ObservedWorker, WorkerPhase

QUICK_DEATH_SECONDS = 30.0  # a worker that lived longer ends a crash streak
REGISTER_SECONDS = 60.0  # a process that runs this long without a session is stuck
FIRST_BACKOFF_SECONDS = 1.0
LONGEST_BACKOFF_SECONDS = 60.0
CRASH_LOOP_STREAK = 3


@dataclass(frozen=True, slots=True)
class CrashHistory:
    """How starts went lately. `streak`: generations of workers, one after the other, that died young or got stuck."""

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


def note_deaths(
    crash: CrashHistory,
    observed: Collection[ObservedWorker],
    *,
    now: float,
    asked_to_leave: Collection[str] = (),
    stuck: Collection[str] = (),
    unregistered: Collection[str] = (),
) -> CrashHistory:
    """The history after the failed and the stuck workers that are there now; one that worked for long ends a streak.

    Workers that were started before the last death belong to its generation: ten that die at one moment are one
    death, not ten. `unregistered`: running, and not heard of by the dispatcher.
    """
    crash = replace(crash, last_death_at=min(crash.last_death_at, now))  # clocks are put back
    if crash.streak and any(
        worker.phase is WorkerPhase.RUNNING
        and worker.name not in unregistered
        and worker.started_at > crash.last_death_at
        and now - worker.started_at >= QUICK_DEATH_SECONDS
        for worker in observed
    ):
        crash = CrashHistory()
    dead = [w for w in observed if w.phase is WorkerPhase.FAILED and w.name not in asked_to_leave]
    for worker in sorted(dead, key=lambda w: (w.ended_at or now, w.name)):
        ended = min(worker.ended_at or now, now)
        if ended - worker.started_at >= QUICK_DEATH_SECONDS:
            crash = CrashHistory(streak=1, last_death_at=ended, message=worker.message)
        else:
            crash = _one_more(crash, worker, ended, worker.message)
    for worker in observed:
        if worker.name in stuck:
            words = f"worker {worker.name} ran for {REGISTER_SECONDS:g} s and never registered with the dispatcher"
            crash = _one_more(crash, worker, now, words)
    return crash


def _one_more(crash: CrashHistory, worker: ObservedWorker, ended: float, message: str) -> CrashHistory:
    same_generation = crash.streak and worker.started_at <= crash.last_death_at
    last = max(crash.last_death_at, ended) if same_generation else ended
    return CrashHistory(crash.streak + (not same_generation), last, message)
