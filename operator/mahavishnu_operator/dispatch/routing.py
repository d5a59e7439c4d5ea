"""Which of several pools is given a job: pure strategies.

The pressure: the same decision is made again after every failure on the way to the store, by several reconciles at
once, while pools come and go. What must stay true: equal candidates give equal answers, in whatever order they come;
by key, a pool that comes takes only what becomes its own, and one that goes gives away only what was its own
(rendezvous hashing: each key ranks all pools, and the first that is there has it).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from mahavishnu_operator.api.scanjob import RoutingStrategy


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pool that may be given a job.

    `pool` is `namespace/name`. `waiting`: tasks queued and running, and those of jobs on their way to it; `ready`:
    slots of workers that take tasks now; `coming`: slots of the workers that it is going to have; `given`: jobs on
    their way to it; `last_job`: when it was last given one, in an order over all pools.
    """

    pool: str
    waiting: int = 0
    ready: int = 0
    coming: int = 0
    given: int = 0
    last_job: int = 0


def choose(strategy: RoutingStrategy, candidates: Sequence[Candidate], *, key: str) -> Candidate:
    """The pool for a job. `key`: the affinity key, or for strategy random the job's UID.

    ValueError without candidates.
    """
    if not candidates:
        raise ValueError("there is no pool to choose from")
    match strategy:
        case RoutingStrategy.LEAST_LOADED:
            return min(candidates, key=lambda one: (_load(one), _turn(one)))
        case RoutingStrategy.ROUND_ROBIN:
            return min(candidates, key=_turn)
        case RoutingStrategy.RANDOM | RoutingStrategy.AFFINITY:
            return max(candidates, key=lambda one: (_affection(key, one.pool), one.pool))


def _load(one: Candidate) -> tuple[int, float]:
    """Pools with ready slots come before those whose workers have yet to come, and before those that want none."""
    if one.ready:
        return (0, one.waiting / one.ready)
    if one.coming:
        return (1, one.waiting / one.coming)
    return (2, float(one.waiting))


def _turn(one: Candidate) -> tuple[int, int, str]:
    """Who was given a job least recently comes first; jobs on their way are the most recent."""
    return (one.given, one.last_job, one.pool)


def _affection(key: str, pool: str) -> bytes:
    """How much a key is drawn to a pool. The length keeps key and pool apart; pools have no NUL, keys may."""
    data = key.encode("utf-8", "surrogatepass")
    return hashlib.sha256(b"%d\0%s%s" % (len(data), data, pool.encode())).digest()
