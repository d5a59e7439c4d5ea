"""Each row: what a pool in mode Internal has to do, and how many workers it then wants."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mahavishnu_operator.api.reasons import Reason
from mahavishnu_operator.control.autoscaling import (
    COOLDOWN_SECONDS,
    Hindrance,
    ScaleDecision,
    ScaleState,
    decide_scale,
)

from .test_pools import spec

Fields = dict[str, Any] | None


def view(wanted: int = 1, *, scaling: Fields = None, pool: Fields = None, **fields: Any) -> ScaleState:
    autoscaling = {"mode": "Internal", "scaleUpThreshold": 10, "scaleUpStep": 2, "scaleDownIdleSeconds": 300}
    limits = {"minWorkers": 0, "maxWorkers": 10, "replicas": wanted}
    made = spec(autoscaling=autoscaling | (scaling or {}), **(limits | (pool or {})))
    return ScaleState(spec=made, wanted=wanted, **fields)


def scaled(given_state: ScaleState) -> tuple[int | None, Reason]:
    decision = decide_scale(given_state)
    return decision.replicas, decision.reason


MANY = {"scaleUpStep": 100}
UP: dict[str, tuple[ScaleState, tuple[int | None, Reason]]] = {
    "at the threshold": (view(1, backlog=10), (None, Reason.STEADY)),
    "over it": (view(1, backlog=11), (3, Reason.BACKLOG_HIGH)),
    "workers on their way count": (view(3, backlog=30), (None, Reason.STEADY)),
    "over it again": (view(3, backlog=31), (5, Reason.BACKLOG_HIGH)),
    "never over the greatest number": (view(9, backlog=500), (10, Reason.BACKLOG_HIGH)),
    "at the greatest number": (view(10, backlog=500), (None, Reason.AT_MAXIMUM)),
    "no more than there are tasks": (
        view(1, backlog=11, scaling=MANY, pool={"maxWorkers": 500}),
        (11, Reason.BACKLOG_HIGH),
    ),
    "no more slots than there are tasks": (
        view(1, backlog=11, running=4, scaling=MANY, pool={"slotsPerWorker": 4}),
        (4, Reason.BACKLOG_HIGH),
    ),
    "one has slots enough": (view(1, backlog=11, running=4, pool={"slotsPerWorker": 64}), (None, Reason.STEADY)),
}


@pytest.mark.parametrize(("given_state", "expected"), UP.values(), ids=UP)
def test_a_backlog_adds_a_step(given_state: ScaleState, expected: tuple[int | None, Reason]) -> None:
    assert scaled(given_state) == expected


@pytest.mark.parametrize(("backlog", "replicas"), [(1, 1), (2, 2), (50, 2)])
def test_a_pool_at_zero_wakes_for_a_waiting_task_without_waiting_itself(backlog: int, replicas: int) -> None:
    assert scaled(view(0, backlog=backlog, changed_seconds_ago=0.0)) == (replicas, Reason.TASKS_WAITING)


@pytest.mark.parametrize(
    ("ago", "expected"),
    [
        (None, (3, Reason.BACKLOG_HIGH)),
        (0.0, (None, Reason.COOLING_DOWN)),
        (COOLDOWN_SECONDS - 0.5, (None, Reason.COOLING_DOWN)),
        (COOLDOWN_SECONDS, (3, Reason.BACKLOG_HIGH)),
        (-3600.0, (3, Reason.BACKLOG_HIGH)),
    ],
    ids=["never changed", "just changed", "within the cooldown", "after it", "the clock was put back"],
)
def test_a_change_is_followed_by_none_for_the_cooldown(ago: float | None, expected: tuple[int | None, Reason]) -> None:
    assert scaled(view(1, backlog=11, changed_seconds_ago=ago)) == expected


def test_the_pool_is_looked_at_again_when_the_cooldown_is_over() -> None:
    decision = decide_scale(view(1, backlog=11, changed_seconds_ago=4.0))
    assert decision.look_again == pytest.approx(COOLDOWN_SECONDS - 4.0)


TWO = {"minWorkers": 2}
DOWN: dict[str, tuple[ScaleState, tuple[int | None, Reason]]] = {
    "not long enough": (view(3, idle_seconds=(299.0, 1.0)), (None, Reason.STEADY)),
    "one for long enough": (view(3, idle_seconds=(300.0, 1.0)), (2, Reason.WORKERS_IDLE)),
    "two": (view(3, idle_seconds=(900.0, 300.0)), (1, Reason.WORKERS_IDLE)),
    "all": (view(3, idle_seconds=(900.0, 300.0, 300.0)), (0, Reason.WORKERS_IDLE)),
    "never under the least number": (view(3, idle_seconds=(900.0, 300.0, 300.0), pool=TWO), (2, Reason.WORKERS_IDLE)),
    "at the least number": (view(2, idle_seconds=(900.0, 300.0), pool=TWO), (None, Reason.STEADY)),
    "not while a task waits": (view(3, idle_seconds=(900.0,), backlog=1), (None, Reason.STEADY)),
    "idle beside busy ones": (view(3, idle_seconds=(900.0,), running=2), (2, Reason.WORKERS_IDLE)),
    "within the cooldown": (view(3, idle_seconds=(900.0,), changed_seconds_ago=3.0), (None, Reason.COOLING_DOWN)),
    "those that never came to work": (view(3, pool_idle_seconds=300.0), (0, Reason.WORKERS_IDLE)),
    "who scaled up by hand is given time": (
        view(3, pool_idle_seconds=9000.0, changed_seconds_ago=30.0),
        (None, Reason.STEADY),
    ),
    "the clock was put back": (
        view(3, pool_idle_seconds=9000.0, changed_seconds_ago=-30.0),
        (0, Reason.WORKERS_IDLE),
    ),
}


@pytest.mark.parametrize(("given_state", "expected"), DOWN.values(), ids=DOWN)
def test_workers_that_are_idle_for_long_are_wanted_no_more(
    given_state: ScaleState, expected: tuple[int | None, Reason]
) -> None:
    assert scaled(given_state) == expected


def test_the_pool_is_looked_at_again_when_the_next_worker_was_idle_for_long_enough() -> None:
    assert decide_scale(view(3, idle_seconds=(290.0, 5.0))).look_again == pytest.approx(10.0)


def test_an_idle_pool_at_its_least_number_needs_no_look() -> None:
    idle = view(1, idle_seconds=(5.0,), pool_idle_seconds=5.0, pool={"minWorkers": 1})
    assert decide_scale(idle) == ScaleDecision()


@pytest.mark.parametrize("mode", ["Off", "HPA"])
@pytest.mark.parametrize("busy", [{"backlog": 99}, {"idle_seconds": (9999.0,), "pool_idle_seconds": 9999.0}])
def test_the_other_modes_are_left_alone(mode: str, busy: dict[str, Any]) -> None:
    assert decide_scale(view(1, scaling={"mode": mode}, **busy)) == ScaleDecision()


def test_a_suspended_pool_is_left_alone() -> None:
    assert decide_scale(view(0, backlog=99, pool={"suspend": True, "replicas": 5})) == ScaleDecision()


def test_no_workers_are_added_while_those_on_their_way_cannot_start() -> None:
    hindrance = Hindrance(Reason.UNSCHEDULABLE, "0/3 nodes are available")
    decision = decide_scale(view(3, backlog=99, hindrance=hindrance))
    assert (decision.replicas, decision.reason) == (None, Reason.UNSCHEDULABLE)
    assert "0/3 nodes" in decision.message


# --- played forward ------------------------------------------------------------------------------


@dataclass
class Play:
    """A pool whose workers start after three seconds and take five for a task. A tick is a second."""

    wanted: int
    spec_: dict[str, Any]
    now: float = 0.0
    queue: int = 0
    starting: list[float] = field(default_factory=list)  # when each is ready
    busy: list[float] = field(default_factory=list)  # when each is done
    idle: list[float] = field(default_factory=list)  # since when
    changed_at: float | None = None
    changes: list[tuple[float, int, int]] = field(default_factory=list)
    killed_busy: int = 0
    nothing_since: float = 0.0

    def state(self) -> ScaleState:
        nothing = self.queue == 0 and not self.busy
        self.nothing_since = self.nothing_since if nothing else self.now
        return view(
            self.wanted,
            scaling={"scaleDownIdleSeconds": 20},
            pool=self.spec_,
            backlog=self.queue,
            running=len(self.busy),
            idle_seconds=tuple(sorted((self.now - since for since in self.idle), reverse=True)),
            pool_idle_seconds=self.now - self.nothing_since if nothing else None,
            changed_seconds_ago=None if self.changed_at is None else self.now - self.changed_at,
        )

    def tick(self) -> None:
        given_state = self.state()
        decision = decide_scale(given_state)
        if decision.replicas is not None:
            demand = math.ceil((self.queue + len(self.busy)) / given_state.spec.slots_per_worker)
            assert decision.replicas <= max(demand, self.wanted), "over-creation"
            assert given_state.spec.min_workers <= decision.replicas <= given_state.spec.max_workers
            self.changes.append((self.now, self.wanted, decision.replicas))
            self.wanted, self.changed_at = decision.replicas, self.now
        self.resize()
        self.now += 1
        self.idle += [self.now for ready in self.starting if ready <= self.now]
        self.starting = [ready for ready in self.starting if ready > self.now]
        self.idle += [self.now for done in self.busy if done <= self.now]
        self.busy = [done for done in self.busy if done > self.now]
        while self.queue and self.idle:
            self.queue -= 1
            self.idle.remove(max(self.idle))
            self.busy.append(self.now + 5)

    def resize(self) -> None:
        """As decide_pool does: those that have not begun go first, then the longest idle."""
        there = len(self.starting) + len(self.idle) + len(self.busy)
        self.starting += [self.now + 3] * max(0, self.wanted - there)
        for _ in range(max(0, there - self.wanted)):
            if self.starting:
                self.starting.pop()
            elif self.idle:
                self.idle.remove(min(self.idle))
            else:
                self.killed_busy += 1


arrivals = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 60)), max_size=8)  # (seconds before, tasks)


@settings(max_examples=100, deadline=None)
@given(arrivals=arrivals, least=st.integers(0, 2), start=st.integers(0, 6))
def test_whatever_comes_it_never_makes_too_many_never_flaps_and_comes_to_rest(
    arrivals: list[tuple[int, int]], least: int, start: int
) -> None:
    play = Play(wanted=max(least, start), spec_={"minWorkers": least, "maxWorkers": 6})
    for pause, tasks in arrivals:
        for _ in range(pause):
            play.tick()
        play.queue += tasks
    for _ in range(600):
        play.tick()
    assert play.queue == 0
    assert (play.wanted, len(play.starting) + len(play.idle) + len(play.busy)) == (least, least)
    assert play.killed_busy == 0
    for (before, lower, higher), (at, from_, to) in zip(play.changes, play.changes[1:], strict=False):
        assert from_ == 0 or at - before >= COOLDOWN_SECONDS
        assert not lower < higher > to or at - before >= 20


@given(
    wanted=st.integers(0, 10),
    backlog=st.integers(0, 200),
    running=st.integers(0, 50),
    idle=st.lists(st.floats(-100, 1000), max_size=10),
    pool_idle=st.none() | st.floats(-100, 1000),
    ago=st.none() | st.floats(-1e6, 1e6),
    replicas=st.integers(0, 1000),
)
def test_whatever_the_numbers_are_the_bounds_hold_and_nothing_is_written_that_is_so_already(
    wanted: int,
    backlog: int,
    running: int,
    idle: list[float],
    pool_idle: float | None,
    ago: float | None,
    replicas: int,
) -> None:
    clamped = max(2, min(wanted, 8))
    decision = decide_scale(
        view(
            clamped,
            pool={"minWorkers": 2, "maxWorkers": 8, "replicas": replicas},
            backlog=backlog,
            running=running,
            idle_seconds=tuple(idle),
            pool_idle_seconds=pool_idle,
            changed_seconds_ago=ago,
        )
    )
    assert decision.replicas is None or (2 <= decision.replicas <= 8 and decision.replicas != clamped)
    assert decision.look_again is None or 0 <= decision.look_again <= 400
