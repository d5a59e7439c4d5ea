"""Each row: what there is, and what the pool does about it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mahavishnu_operator.api.reasons import Reason
from mahavishnu_operator.api.workerpool import WorkerPoolSpec
from mahavishnu_operator.backends.protocol import ObservedWorker, WorkerPhase
from mahavishnu_operator.control.acceptance import Refusal
from mahavishnu_operator.control.census import PoolState, take_census
from mahavishnu_operator.control.crashes import REGISTER_SECONDS, CrashHistory
from mahavishnu_operator.control.pools import decide_pool, template_revision, wanted_workers
from mahavishnu_operator.dispatch.protocol import PoolLoad, WorkerView

NOW = 10_000.0
REVISION = "new"
ENDED = (WorkerPhase.FAILED, WorkerPhase.FINISHED)


def spec(**fields: Any) -> WorkerPoolSpec:
    return WorkerPoolSpec.model_validate({"backend": "local-process", "replicas": 1} | fields)


def process(
    name: str, phase: WorkerPhase = WorkerPhase.RUNNING, *, age: float = 100.0, revision: str = REVISION
) -> ObservedWorker:
    ended = NOW if phase is WorkerPhase.FAILED else None
    return ObservedWorker(name, phase, revision, started_at=NOW - age, ended_at=ended, message="exit code 7")


def session(name: str, *, held: int = 0, draining: bool = False, idle_for: float = 10.0, done: int = 0) -> WorkerView:
    since = None if held else idle_for
    return WorkerView(name, 1, held, draining, registered_at=NOW - 90, idle_seconds=since, tasks_done=done)


def state(pool: WorkerPoolSpec | None, *workers: ObservedWorker | WorkerView, **fields: Any) -> PoolState:
    observed = tuple(w for w in workers if isinstance(w, ObservedWorker))
    views = tuple(w for w in workers if isinstance(w, WorkerView))
    return PoolState(spec=pool, now=NOW, revision=REVISION, observed=observed, load=PoolLoad(workers=views), **fields)


def both(name: str, **fields: Any) -> list[ObservedWorker | WorkerView]:
    """A worker that both the backend and the dispatcher know."""
    revision = fields.pop("revision", REVISION)
    return [process(name, revision=revision), session(name, **fields)]


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"replicas": 3}, 3),
        ({"replicas": 30, "maxWorkers": 4}, 4),
        ({"replicas": 0, "minWorkers": 2}, 2),
        ({"replicas": 0}, 0),
        ({"replicas": 3, "suspend": True}, 0),
    ],
)
def test_the_wanted_number_is_replicas_within_its_bounds(fields: dict[str, Any], wanted: int) -> None:
    assert wanted_workers(spec(**fields)) == wanted


def test_a_refused_pool_wants_no_worker() -> None:
    assert wanted_workers(spec(replicas=3), Refusal(Reason.INVALID, "because")) == 0


def test_missing_workers_are_started_at_once() -> None:
    assert decide_pool(state(spec(replicas=3), process("a"))).start == 2


def test_workers_that_are_starting_count_against_the_wanted_number() -> None:
    starting = [process(name, WorkerPhase.STARTING) for name in "abc"]
    assert decide_pool(state(spec(replicas=3), *starting)).start == 0


def test_a_failed_worker_is_removed_and_replaced() -> None:
    decision = decide_pool(state(spec(replicas=1), process("a", WorkerPhase.FAILED, age=500), crash=CrashHistory()))
    assert decision.remove == ("a",)
    later = state(spec(replicas=1), crash=replace(decision.crash, last_death_at=NOW - 2))
    assert decide_pool(later).start == 1


def test_starts_wait_for_the_back_off_after_a_quick_death() -> None:
    decision = decide_pool(state(spec(replicas=1), crash=CrashHistory(streak=2, last_death_at=NOW - 0.5)))
    assert decision.start == 0
    assert decision.requeue_after == pytest.approx(1.5)


@pytest.mark.parametrize(("streak", "seconds"), [(0, 0), (1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (50, 60)])
def test_the_back_off_doubles_from_one_to_sixty_seconds(streak: int, seconds: float) -> None:
    assert CrashHistory(streak=streak).backoff_seconds == seconds


def test_workers_that_die_together_are_one_death() -> None:
    dead = [process(name, WorkerPhase.FAILED, age=3) for name in "abcdefgh"]
    assert decide_pool(state(spec(replicas=8), *dead)).crash.streak == 1


def test_a_worker_started_after_the_last_death_that_dies_young_lengthens_the_streak() -> None:
    crash = CrashHistory(streak=2, last_death_at=NOW - 5)
    decision = decide_pool(state(spec(), process("b", WorkerPhase.FAILED, age=3), crash=crash))
    assert decision.crash.streak == 3
    assert decision.crash.looping
    assert decision.crash.message == "exit code 7"


def test_a_crash_loop_tries_one_worker_for_all() -> None:
    crash = CrashHistory(streak=3, last_death_at=NOW - 60)
    assert decide_pool(state(spec(replicas=5), crash=crash)).start == 1


def test_a_worker_that_lived_long_enough_ends_the_streak() -> None:
    crash = CrashHistory(streak=4, last_death_at=NOW - 50)
    young = decide_pool(state(spec(), process("a", age=20), session("a"), crash=crash))
    old = decide_pool(state(spec(), process("a", age=31), session("a"), crash=crash))
    assert (young.crash.streak, old.crash.streak) == (4, 0)


@pytest.mark.parametrize("streak", [1, 4])
def test_a_clock_that_was_put_back_holds_starts_back_no_longer_than_the_back_off(streak: int) -> None:
    crash = CrashHistory(streak=streak, last_death_at=NOW + 3600)
    decision = decide_pool(state(spec(replicas=1), crash=crash))
    assert decision.requeue_after is not None
    assert decision.requeue_after <= crash.backoff_seconds


def test_a_worker_that_died_before_the_clock_was_put_back_died_now() -> None:
    dead = replace(process("a", WorkerPhase.FAILED, age=-3595.0), ended_at=NOW + 3600)
    decision = decide_pool(state(spec(replicas=1), dead))
    assert (decision.start, decision.crash.last_death_at) == (0, NOW)


def test_a_worker_that_was_asked_to_leave_has_not_crashed() -> None:
    dead = process("a", WorkerPhase.FAILED, age=2)
    decision = decide_pool(state(spec(replicas=0), dead, asked_to_leave=frozenset({"a"})))
    assert (decision.crash.streak, decision.remove) == (0, ("a",))


def test_the_longest_idle_worker_goes_first() -> None:
    workers = [*both("a", idle_for=5), *both("b", idle_for=50), *both("c", held=1)]
    assert decide_pool(state(spec(replicas=2), *workers)).drain == ("b",)


def test_workers_that_have_not_begun_go_before_idle_ones() -> None:
    workers = [*both("a", idle_for=500), process("b", WorkerPhase.STARTING)]
    assert decide_pool(state(spec(replicas=1), *workers)).drain == ("b",)


def test_busy_workers_are_drained_last_and_never_stopped() -> None:
    workers = [*both("a", held=2), *both("b", held=1), *both("c")]
    decision = decide_pool(state(spec(replicas=1), *workers))
    assert (decision.drain, decision.stop) == (("c", "b"), ())


def test_a_draining_worker_is_asked_again_when_it_holds_nothing_more() -> None:
    workers = [*both("a", draining=True), *both("b", draining=True, held=1), *both("c")]
    decision = decide_pool(state(spec(replicas=1), *workers))
    assert decision.drain == ("a",)
    assert decision.census.draining_busy == ("b",)


def test_draining_workers_still_count_against_the_greatest_number() -> None:
    workers = [*both("a", draining=True, held=1), *both("b")]
    assert decide_pool(state(spec(replicas=2, maxWorkers=2), *workers)).start == 0
    assert decide_pool(state(spec(replicas=2, maxWorkers=3), *workers)).start == 1


def test_a_suspended_pool_drains_all() -> None:
    workers = [*both("a"), *both("b", held=1)]
    assert set(decide_pool(state(spec(replicas=2, suspend=True), *workers)).drain) == {"a", "b"}


def test_a_pool_that_is_gone_stops_all() -> None:
    decision = decide_pool(state(None, *both("a"), *both("b", held=1), process("c", WorkerPhase.FAILED)))
    assert (set(decision.stop), decision.remove, decision.start) == ({"a", "b"}, ("c",), 0)


def test_a_process_that_never_registers_is_stopped_after_a_minute() -> None:
    silent = process("a", age=200)
    early = state(spec(), silent, unregistered_since={"a": NOW - REGISTER_SECONDS + 5})
    late = state(spec(), silent, unregistered_since={"a": NOW - REGISTER_SECONDS})
    assert decide_pool(early).stop == ()
    assert decide_pool(early).requeue_after == pytest.approx(5)
    assert decide_pool(late).stop == ("a",)
    assert take_census(late).ready == 0


def test_nothing_is_started_while_the_backend_fails() -> None:
    decision = decide_pool(state(spec(replicas=2), backend_error="no more processes"))
    assert (decision.start, decision.requeue_after) == (0, 5.0)


ALL_OLD = [w for name in "abcdefgh" for w in both(name, revision="old")]


def test_a_replacement_is_ready_before_a_worker_of_an_old_template_goes() -> None:
    old = both("a", revision="old")
    first = decide_pool(state(spec(replicas=1), *old))
    assert (first.start, first.drain) == (1, ())
    second = decide_pool(state(spec(replicas=1), *old, process("b", WorkerPhase.STARTING)))
    assert (second.start, second.drain) == (0, ())
    third = decide_pool(state(spec(replicas=1), *old, *both("b", idle_for=1)))
    assert (third.start, third.drain) == (0, ("a",))


def test_where_the_greatest_number_leaves_no_room_the_old_worker_goes_first() -> None:
    decision = decide_pool(state(spec(replicas=1, maxWorkers=1), *both("a", revision="old")))
    assert (decision.start, decision.drain) == (0, ("a",))


@pytest.mark.parametrize(("most", "start", "drain"), [(20, 2, 0), (9, 1, 0), (8, 0, 2)])
def test_a_changed_template_replaces_a_quarter_at_a_time(most: int, start: int, drain: int) -> None:
    decision = decide_pool(state(spec(replicas=8, maxWorkers=most), *ALL_OLD))
    assert (decision.start, len(decision.drain)) == (start, drain)


def test_a_busy_worker_of_an_old_template_waits_for_the_idle_ones() -> None:
    workers = [*both("a", revision="old", held=1), *both("b", revision="old")]
    assert decide_pool(state(spec(replicas=2, maxWorkers=2), *workers)).drain == ("b",)
    assert decide_pool(state(spec(replicas=2), *workers, *both("c"))).drain == ("b",)


def test_under_endless_work_a_busy_worker_of_an_old_template_comes_to_its_turn() -> None:
    workers = [*both("a", revision="old", held=2), *both("b", revision="old", held=1), *both("c", held=1)]
    decision = decide_pool(state(spec(replicas=2), *workers))
    assert (decision.drain, decision.stop) == (("b",), ())


def test_a_busy_worker_that_finishes_what_it_holds_keeps_the_next_busy_one() -> None:
    workers = [
        *both("a", revision="old", held=1),
        *both("b", revision="old", held=1, draining=True),
        *both("c", held=1),
    ]
    decision = decide_pool(state(spec(replicas=2), *workers))
    assert (decision.start, decision.drain) == (0, ())


def test_a_template_whose_workers_crash_costs_no_worker_of_the_old_one_where_there_is_room() -> None:
    crash = CrashHistory(streak=3, last_death_at=NOW - 61)
    decision = decide_pool(state(spec(replicas=8, maxWorkers=20), *ALL_OLD, crash=crash))
    assert (decision.start, decision.drain) == (1, ())


def test_a_template_whose_workers_crash_costs_a_quarter_of_the_pool_where_there_is_none() -> None:
    crash = CrashHistory(streak=3, last_death_at=NOW - 1)
    decision = decide_pool(state(spec(replicas=8, maxWorkers=8), *ALL_OLD[:12], crash=crash))
    assert (decision.start, decision.drain) == (0, ())


def test_what_cannot_start_from_an_old_template_goes_at_once() -> None:
    stuck = [process(name, WorkerPhase.STARTING, revision="old") for name in "xy"]
    assert decide_pool(state(spec(replicas=8), *ALL_OLD[:4], *stuck)).drain == ("x", "y")


def test_replacement_waits_until_the_new_worker_is_ready() -> None:
    workers = [*both("a", revision="old"), process("b", WorkerPhase.STARTING)]
    assert decide_pool(state(spec(replicas=2), *workers)).drain == ()


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"replicas": 5}, True),
        ({"maxWorkers": 20}, True),
        ({"allowedCommands": ["ls"]}, True),
        ({"slotsPerWorker": 2}, False),
        ({"drain": {"graceSeconds": 5}}, False),
    ],
)
def test_only_what_a_worker_cannot_learn_changes_the_revision(change: dict[str, Any], same: bool) -> None:
    assert (template_revision(spec(**change), "uid") == template_revision(spec(), "uid")) is same


def test_a_pool_made_again_has_another_revision() -> None:
    assert template_revision(spec(), "first") != template_revision(spec(), "second")


def test_another_installation_has_another_revision() -> None:
    assert template_revision(spec(), "uid", installation="old") != template_revision(spec(), "uid", installation="new")


# --- whatever there is ---------------------------------------------------------------------------

phases = st.sampled_from(list(WorkerPhase))


@st.composite
def states(draw: st.DrawFn) -> PoolState:
    maximum = draw(st.integers(0, 8))
    pool = spec(
        maxWorkers=maximum,
        minWorkers=draw(st.integers(0, maximum)),
        replicas=draw(st.integers(0, 12)),
        suspend=draw(st.booleans()),
    )
    workers: list[ObservedWorker | WorkerView] = []
    unregistered = {}
    for number in range(draw(st.integers(0, 10))):
        name = f"w{number}"
        phase = draw(phases)
        workers.append(
            process(name, phase, age=draw(st.floats(0, 200)), revision=draw(st.sampled_from(["new", "old"])))
        )
        if draw(st.booleans()):
            workers.append(session(name, held=draw(st.integers(0, 2)), draining=draw(st.booleans())))
        elif phase is WorkerPhase.RUNNING:
            unregistered[name] = NOW - draw(st.floats(0, 120))
    crash = CrashHistory(streak=draw(st.integers(0, 5)), last_death_at=NOW - draw(st.floats(0, 100)))
    return state(pool, *workers, crash=crash, unregistered_since=unregistered)


def held(given_state: PoolState, name: str) -> int:
    return sum(view.held for view in given_state.load.workers if view.name == name)


@given(states())
def test_a_busy_worker_is_never_stopped(given_state: PoolState) -> None:
    assert all(held(given_state, name) == 0 for name in decide_pool(given_state).stop)


@given(states())
def test_the_greatest_number_is_never_exceeded_by_a_start(given_state: PoolState) -> None:
    decision = decide_pool(given_state)
    alive = [w for w in given_state.observed if w.phase not in ENDED]
    assert given_state.spec is not None
    assert decision.start == 0 or len(alive) + decision.start <= given_state.spec.max_workers


@given(states())
def test_a_failed_worker_never_counts(given_state: PoolState) -> None:
    failed = {w.name for w in given_state.observed if w.phase in ENDED}
    healthy = tuple(w for w in given_state.observed if w.name not in failed)
    decision = decide_pool(given_state)
    without = decide_pool(replace(given_state, observed=healthy, crash=decision.crash))
    assert set(decision.remove) == failed
    assert (decision.start, decision.drain, decision.stop) == (without.start, without.drain, without.stop)


@given(states())
def test_a_pool_never_starts_and_drains_for_size_at_once(given_state: PoolState) -> None:
    decision = decide_pool(given_state)
    if decision.census.active > decision.wanted:
        assert decision.start == 0


@given(states())
def test_no_more_than_the_surplus_is_drained(given_state: PoolState) -> None:
    decision = decide_pool(given_state)
    fresh = set(decision.drain) & {*decision.census.idle, *decision.census.busy}
    surplus = max(0, decision.census.active - decision.wanted)
    assert len(fresh) <= max(surplus, max(1, -(-decision.wanted // 4)))


@given(states())
def test_where_there_is_room_replacing_leaves_as_many_ready_as_are_wanted(given_state: PoolState) -> None:
    decision, spec_ = decide_pool(given_state), given_state.spec
    assert spec_ is not None
    if decision.census.existing < spec_.max_workers and decision.start < spec_.max_workers - decision.census.existing:
        leaving = set(decision.drain) & {*decision.census.idle, *decision.census.busy}
        assert len(leaving) <= max(0, decision.census.ready - decision.wanted)
