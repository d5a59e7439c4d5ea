"""How many calls a caller may make: a bucket each, filled at a steady rate; pure.

The pressure: a scan of a large repository fans out thousands of calls at once and is meant to; an agent in a loop does
the same without end, and starves the others. What must stay true: a burst as large as the largest fan-out passes, and
so does what goes on below the rate for ever; who is refused is told when to come again; callers that are not heard of
any more are forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

MOST_CALLERS = 10_000
LEAST_WAIT_SECONDS = 1.0  # before a call that was refused


@dataclass(frozen=True)
class Rate:
    """Calls of one caller: so many at once, and so many a second after that."""

    burst: int = 6000
    per_second: float = 100.0


class Limiter:
    """What each caller has left. One process counts for itself."""

    def __init__(self, rate: Rate, *, most_callers: int = MOST_CALLERS) -> None:
        self._rate, self._most = rate, most_callers
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when

    def wait_for(self, caller: str, *, now: float) -> float:
        """0: the call may be made, and is counted; else the seconds after which to try again."""
        tokens, then = self._left.pop(caller, (float(self._rate.burst), now))
        tokens = min(float(self._rate.burst), tokens + max(0.0, now - then) * self._rate.per_second)
        admitted = tokens >= 1
        self._left[caller] = (tokens - 1 if admitted else tokens, now)
        if len(self._left) > self._most:
            self._left.popitem(last=False)
        return 0.0 if admitted else round(max(LEAST_WAIT_SECONDS, (1 - tokens) / self._rate.per_second), 3)
