"""How many tasks a worker may hold: its slots, and of short commands a moment's work more. Pure.

The pressure: a command of a millisecond must not wait for two calls over the network, its predecessor's result and its
own lease; a command of minutes must not keep others waiting behind it while a second worker is idle. So commands
are leased ahead when those of their job were short so far. What must stay true: whoever was wrong about that costs the
others a moment and no try: the worker hands back what it has not begun (class `unstarted`), and a task is leased ahead
once, in its first attempt.
"""

from __future__ import annotations

from dataclasses import dataclass

AHEAD_SECONDS = 0.25  # of work beyond the slots
STUCK_SECONDS = 4 * AHEAD_SECONDS  # a worker with a lease this old is behind something long
WEIGHT = 0.2  # of the newest duration in the running mean
LONGEST_SECONDS = 1e9  # what a worker may say that a task took


@dataclass(frozen=True, slots=True)
class Pace:
    """Mean seconds that a command of one job takes, lately; None before the first."""

    seconds: float | None = None

    def after(self, seconds: float) -> Pace:
        """The pace with one more command."""
        seconds = min(max(0.0, seconds), LONGEST_SECONDS)
        if self.seconds is None:
            return Pace(seconds)
        return Pace((1 - WEIGHT) * self.seconds + WEIGHT * seconds)


def most_held(*, slots: int, pace: Pace, oldest_seconds: float, max_batch: int) -> int:
    """How many leases a worker may have, if the next is of a job with that pace; `oldest_seconds`: of its leases."""
    if pace.seconds is None or oldest_seconds > STUCK_SECONDS:
        return slots
    work = slots * AHEAD_SECONDS
    return slots + int(work / max(pace.seconds, work / max_batch))
