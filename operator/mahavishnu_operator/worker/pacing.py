"""How many tasks to ask for: enough that no slot waits for the network, never more than a moment's work.

Tasks of a millisecond would be bound by one request each; tasks of minutes must not wait in one worker while
another is idle. So a worker asks for its free slots, and beyond them for about LOOKAHEAD_SECONDS of work at the
pace it has seen lately, and again when half of that is done; it forgets the pace when the queue runs dry, since the
next job may be of another kind. The dispatcher has the last word: beyond free slots it leases only what is over at
once, or soon (docs/adr/0012). What stands behind a long task all the same is handed back.
"""

from __future__ import annotations

from dataclasses import dataclass

LOOKAHEAD_SECONDS = 0.25
SENT_AHEAD_SECONDS = 0.1  # of work that is on its way to a runner
MOST_SENT_AHEAD = 64
WEIGHT = 0.2  # of the newest duration in the running mean


@dataclass(frozen=True, slots=True)
class Pace:
    """Mean seconds a task takes; None before the first."""

    seconds: float | None = None

    def after(self, seconds: float) -> Pace:
        """The pace with one more task."""
        if self.seconds is None:
            return Pace(seconds)
        return Pace((1 - WEIGHT) * self.seconds + WEIGHT * seconds)


def decide_lease(*, slots: int, held: int, pace: Pace, longest_running_seconds: float, max_batch: int) -> int:
    """How many to ask for, when `held` tasks are here already, running or waiting."""
    ahead = 0
    if pace.seconds is not None:
        mean = max(pace.seconds, longest_running_seconds, LOOKAHEAD_SECONDS / max_batch)
        ahead = int(slots * LOOKAHEAD_SECONDS / mean)
    if slots <= held and 2 * held > slots + ahead:
        return 0  # a call for each task would cost more than the task
    return max(0, min(max_batch, slots + ahead - held))


def decide_sent(pace: Pace) -> int:
    """How many commands may be on their way to a runner at once, the one that runs included."""
    if pace.seconds is None:
        return 1
    return max(
        1, min(MOST_SENT_AHEAD, int(SENT_AHEAD_SECONDS / max(pace.seconds, SENT_AHEAD_SECONDS / MOST_SENT_AHEAD)))
    )
