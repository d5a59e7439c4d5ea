"""Workers that have worked enough, and workers that are closed by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mahavishnu_operator.backends.protocol import ObservedWorker, WorkerPhase
from mahavishnu_operator.control.crashes import REGISTER_SECONDS
from mahavishnu_operator.control.pools import PoolDecision, decide_pool
from mahavishnu_operator.dispatch.protocol import WorkerView

from .test_pools import NOW, both, process, session, spec, state


def recycled(workers: list[Any], *, replicas: int = 2, most: int = 10, **recycle: int) -> PoolDecision:
    return decide_pool(state(spec(replicas=replicas, maxWorkers=most, recycle=recycle), *workers))


@pytest.mark.parametrize(("done", "start"), [(4, 0), (5, 1), (500, 1)])
def test_a_worker_that_ran_enough_tasks_is_replaced(done: int, start: int) -> None:
    assert recycled([*both("a", done=done), *both("b")], maxTasks=5).start == start


@pytest.mark.parametrize(("age", "start"), [(59.0, 0), (60.0, 1)])
def test_a_worker_that_is_old_enough_is_replaced(age: float, start: int) -> None:
    workers = [process("a", age=age), session("a"), process("b", age=1), session("b")]
    assert recycled(workers, maxAgeSeconds=60).start == start


def test_the_pool_is_looked_at_again_when_the_next_worker_is_old_enough() -> None:
    workers = [process("a", age=59), session("a"), process("b", age=1), session("b")]
    assert recycled(workers, maxAgeSeconds=60).requeue_after == pytest.approx(1)


def test_a_busy_worker_is_recycled_by_draining_it_when_its_replacement_is_ready() -> None:
    workers = [*both("a", done=9, held=1), *both("b", done=9, held=1), *both("c", held=1)]
    decision = recycled(workers, maxTasks=5)
    assert (decision.drain, decision.stop) == (("a",), ())


def test_workers_of_one_age_are_recycled_a_quarter_at_a_time() -> None:
    workers = [w for name in "abcdefgh" for w in both(name)]
    assert recycled(workers, replicas=8, most=20, maxAgeSeconds=1).start == 2
    assert len(recycled(workers, replicas=8, most=8, maxAgeSeconds=1).drain) == 2


def test_a_worker_that_begins_is_not_recycled_for_its_age() -> None:
    assert recycled([process("a", WorkerPhase.STARTING, age=500)], replicas=1, maxAgeSeconds=60).drain == ()


def on_a_cordoned_machine(name: str, *, held: int = 0) -> list[ObservedWorker | WorkerView]:
    return [process(name), replace(session(name, held=held), cordoned=True)]


def test_a_worker_whose_machine_takes_no_new_work_is_replaced() -> None:
    decision = recycled([*on_a_cordoned_machine("a"), *both("b")])
    assert (decision.start, decision.drain) == (1, ())
    assert recycled([*on_a_cordoned_machine("a"), *both("b"), *both("new")]).drain == ("a",)


def test_with_no_room_for_another_it_goes_first_and_a_busy_one_finishes() -> None:
    workers = [*on_a_cordoned_machine("a", held=1), *on_a_cordoned_machine("b")]
    decision = recycled(workers, most=2)
    assert (decision.start, decision.drain, decision.stop) == (0, ("b",), ())


def retiring(*workers: Any, replicas: int = 2, names: tuple[str, ...] = ("a",), **fields: Any) -> PoolDecision:
    return decide_pool(state(spec(replicas=replicas, retireWorkers=list(names)), *workers, **fields))


@pytest.mark.parametrize("held", [0, 1])
def test_a_worker_that_is_named_leaves_and_its_place_stays_empty_while_it_is_there(held: int) -> None:
    decision = retiring(*both("a", held=held, idle_for=1), *both("b", idle_for=100))
    assert (decision.drain, decision.stop, decision.start) == (("a",), (), 0)


def test_the_place_of_a_worker_that_is_being_stopped_stays_empty() -> None:
    assert retiring(process("a", WorkerPhase.STOPPING), *both("b")).start == 0


def test_with_replicas_lowered_by_one_just_the_named_worker_goes() -> None:
    workers = [*both("a", held=1), *both("b", idle_for=500), *both("c")]
    decision = retiring(*workers, replicas=2)
    assert (decision.drain, decision.start) == (("a",), 0)


def test_a_named_worker_is_told_once_while_it_finishes() -> None:
    workers = [*both("a", held=1, draining=True), *both("b")]
    assert retiring(*workers, asked_to_leave=frozenset({"a"})).drain == ()


def test_when_it_has_gone_replicas_alone_says_how_many_there_are() -> None:
    assert retiring(*both("b"), replicas=1).start == 0
    assert retiring(*both("b"), replicas=2).start == 1


def test_names_of_workers_that_are_long_gone_change_nothing() -> None:
    names = tuple(f"gone-{number}" for number in range(64))
    decision = retiring(*both("a"), *both("b"), names=names)
    assert (decision.drain, decision.start) == ((), 0)


def test_a_worker_that_never_registers_counts_as_a_death_so_that_the_next_ones_wait_longer() -> None:
    since = {"a": NOW - REGISTER_SECONDS}
    decision = decide_pool(state(spec(replicas=1), process("a", age=200), unregistered_since=since))
    assert decision.stop == ("a",)
    assert (decision.crash.streak, decision.crash.last_death_at) == (1, NOW)
    assert "never registered" in decision.crash.message
