"""Which workers leave a pool now, in a scale-down and to be replaced: pure.

The pressure: a rolling replacement that ends the old worker first makes the pool smaller just when it is needed, one
that starts too many breaks maxWorkers, and one that waits for an idle moment never comes to it under endless work. What
must stay true: where maxWorkers leaves room a replacement is ready before the old one goes, elsewhere the old one goes
first; at most a quarter of the pool is on the move; idle ones come before busy ones, and a busy one finishes what it
holds, for it is drained and never stopped. So a template that cannot work costs a quarter of the pool at the worst, and
nothing where there is room.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .census import Census


@dataclass(frozen=True, slots=True)
class Exchange:
    """Who leaves, and how many are started beyond the wanted number so that somebody can."""

    leave: tuple[str, ...] = ()
    surge: int = 0


def decide_exchange(census: Census, *, wanted: int, most: int, coming: int) -> Exchange:
    """`most` is maxWorkers; `coming`: empty places to be filled, now or when a back-off is over."""
    spent_ready = [name for name in (*census.idle, *census.busy) if name in census.spent]
    begun = tuple(name for name in census.starting if name in census.spent)
    if not spent_ready and not begun:
        excess = census.active - wanted
        return Exchange((census.starting + census.idle + census.busy)[:excess] if excess > 0 else ())
    share = max(1, math.ceil(wanted / 4))
    at_once = min(share, most - wanted) if most > wanted else share
    unborn = [name for name in census.starting if name not in census.spent]
    leave = (*begun, *unborn[: max(0, census.ready + len(unborn) - wanted - at_once)])  # nothing is lost with them
    spare = census.ready - wanted
    if spare > 0:
        kept_rather = [name for name in (*census.idle, *census.busy) if name not in census.spent]
        return Exchange((*leave, *(spent_ready + kept_rather)[:spare]))
    due = _due(census, at_once=at_once, coming=coming)
    room = most - census.existing - coming
    if room > 0:
        return Exchange(leave, surge=min(len(due), room))
    return Exchange((*leave, *due))


def _due(census: Census, *, at_once: int, coming: int) -> tuple[str, ...]:
    """Whose replacement begins now: idle ones, and when there is none, busy ones."""
    budget = at_once - coming - len(census.starting) - len(census.draining_idle) - len(census.stopping)
    idle = tuple(name for name in census.idle if name in census.spent)
    if idle:
        return idle[: max(0, budget)]
    busy = tuple(name for name in census.busy if name in census.spent)
    return busy[: max(0, budget - len(census.draining_busy))]
