"""Storms: faults drawn from a seed, which strike a system while it works.

What a seed decides is what strikes, after how much progress, how much later than that, for how long, and which of
several processes. What must stay true: the same seed draws the same storm; a storm has every kind of fault at least
once; only a strike that hit something is counted.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from .witness import PATIENCE_SECONDS, Witness

LATEST_SECONDS = 0.15  # a strike falls that long after the beginning of a task, at the most
LAST = 0.9  # of the tasks have begun when the last fault strikes: there must be something left to hit


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault: how often it is drawn compared with others, and how long it lasts (from, to)."""

    name: str
    weight: int = 1
    seconds: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault: after so many tasks have begun and so many seconds more. `pick` in [0, 1) says which victim."""

    fault: str
    after: int
    delay: float
    pick: float
    seconds: float


class System(Protocol):
    """What is struck."""

    faults: Sequence[Fault]

    def strike(self, strike: Strike) -> bool:
        """Let it happen; False when there is nothing to hit just now."""
        ...

    def look_after(self) -> None:
        """Do what a deployment does all the time: start again what ended. AssertionError when it should not have."""
        ...


def plan_strikes(seed: int, faults: Sequence[Fault], *, count: int, tasks: int) -> tuple[Strike, ...]:
    """`count` strikes, spread evenly over the progress of `tasks` tasks. ValueError: too few to have each fault."""
    if count < len(faults):
        raise ValueError(f"{count} strikes cannot have each of {len(faults)} faults")
    chance = random.Random(seed)
    drawn = [*faults, *chance.choices(faults, [fault.weight for fault in faults], k=count - len(faults))]
    chance.shuffle(drawn)
    return tuple(
        Strike(
            fault=fault.name,
            after=1 + int(number * LAST * tasks / count),
            delay=chance.uniform(0.0, LATEST_SECONDS),
            pick=chance.random(),
            seconds=chance.uniform(*fault.seconds),
        )
        for number, fault in enumerate(drawn)
    )


def run_storm(system: System, witness: Witness, strikes: Sequence[Strike]) -> Counter[str]:
    """Strike one after another; how often each fault hit. AssertionError when the work does not go on."""
    hit: Counter[str] = Counter()
    for strike in strikes:
        witness.wait_for(strike.after, meanwhile=system.look_after)
        time.sleep(strike.delay)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not system.strike(strike):
            assert time.monotonic() < deadline, f"there was nothing to hit with {strike}"
            system.look_after()
            time.sleep(0.005)
        hit[strike.fault] += 1
    return hit
