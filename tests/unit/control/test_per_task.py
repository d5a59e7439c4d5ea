"""Each row: the tasks that wait and the workers made for them, and what the pool does about it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mahavishnu_operator.api.reasons import FailureClass, Reason
from mahavishnu_operator.api.workerpool import WorkerPoolSpec
from mahavishnu_operator.backends.protocol import ObservedWorker, WorkerPhase
from mahavishnu_operator.control.acceptance import Refusal
from mahavishnu_operator.control.census import PoolState
from mahavishnu_operator.control.crashes import REGISTER_SECONDS, CrashHistory
from mahavishnu_operator.control.per_task import POD_SECONDS, decide_per_task, take_census
from mahavishnu_operator.control.pool_status import pool_status
from mahavishnu_operator.dispatch.protocol import Demand, PoolLoad, WorkerView

NOW = 10_000.0
REVISION = "new"
STARTING, RUNNING, FAILED = WorkerPhase.STARTING, WorkerPhase.RUNNING, WorkerPhase.FAILED
FINISHED, STOPPING = WorkerPhase.FINISHED, WorkerPhase.STOPPING


def spec(**fields: Any) -> WorkerPoolSpec:
    return WorkerPoolSpec.model_validate({"backend": "kubernetes", "isolation": "PerTask", "maxWorkers": 10} | fields)


def worker(name: str, phase: WorkerPhase = STARTING, *, age: float = 5.0, **fields: Any) -> ObservedWorker:
    return ObservedWorker(name, phase, fields.pop("revision", REVISION), started_at=NOW - age, **fields)


def session(name: str, *, held: int = 0, spent: bool = False, draining: bool = False) -> WorkerView:
    since = None if held else 0.0
    return WorkerView(name, 1, held, draining, registered_at=NOW, idle_seconds=since, tasks_done=0, spent=spent)


def state(
    tasks: int, *workers: ObservedWorker | WorkerView, pool: WorkerPoolSpec | None = None, **more: Any
) -> PoolState:
    demand = more.pop("demand", Demand())
    return PoolState(
        spec=pool or spec(),
        now=NOW,
        revision=REVISION,
        observed=tuple(w for w in workers if isinstance(w, ObservedWorker)),
        load=PoolLoad(workers=tuple(w for w in workers if isinstance(w, WorkerView))),
        demand=replace(demand, tasks=tasks, longest_seconds=60.0),
        **more,
    )


def test_each_task_that_may_run_gets_a_worker() -> None:
    assert decide_per_task(state(3)).start == 3


def test_a_worker_on_its_way_is_for_one_of_the_tasks() -> None:
    waiting: list[ObservedWorker | WorkerView] = [worker("a"), worker("b", RUNNING), worker("c", RUNNING), session("c")]
    assert decide_per_task(state(5, *waiting)).start == 2


def test_a_busy_worker_is_for_no_other_task() -> None:
    assert decide_per_task(state(1, worker("a", RUNNING), session("a", held=1))).start == 1


@pytest.mark.parametrize(
    "gone",
    [
        {"load": session("a", spent=True)},
        {"demand": Demand(left=frozenset({"a"}))},
    ],
)
def test_a_worker_that_had_its_task_is_for_no_other(gone: dict[str, Any]) -> None:
    views = [gone.pop("load")] if "load" in gone else []
    decision = decide_per_task(state(1, worker("a", RUNNING), *views, **gone))
    assert (decision.start, decision.drain, decision.stop) == (1, (), ())


def test_a_worker_without_a_task_on_a_machine_that_takes_no_new_work_is_sent_away() -> None:
    cordoned = replace(session("a"), cordoned=True)
    assert decide_per_task(state(1, worker("a", RUNNING), cordoned)).drain == ("a",)


def test_never_more_than_max_workers_exist() -> None:
    there: list[ObservedWorker | WorkerView] = [
        worker("a", RUNNING),
        session("a", held=1),
        worker("b", STOPPING),
        worker("c", RUNNING),
        session("c", spent=True),
    ]
    assert decide_per_task(state(50, *there, pool=spec(maxWorkers=5))).start == 2


def test_a_worker_that_has_ended_is_removed_and_takes_no_place() -> None:
    decision = decide_per_task(state(2, worker("a", FINISHED), worker("b", FAILED), pool=spec(maxWorkers=2)))
    assert decision.remove == ("a", "b")
    assert decision.start == 0  # b failed before it had a task: back off
    assert decide_per_task(state(2, worker("a", FINISHED), pool=spec(maxWorkers=2))).start == 2


@pytest.mark.parametrize("more", [{"pool": spec(suspend=True)}, {"refusal": Refusal(Reason.INVALID, "because")}])
def test_a_pool_that_may_not_run_starts_nothing_and_sends_away_who_has_no_task(more: dict[str, Any]) -> None:
    there: list[ObservedWorker | WorkerView] = [
        worker("a"),
        worker("b", RUNNING),
        session("b"),
        worker("c", RUNNING),
        session("c", held=1),
    ]
    decision = decide_per_task(state(9, *there, **more))
    assert (decision.start, set(decision.drain)) == (0, {"a", "b"})


def test_workers_whose_tasks_were_cancelled_are_sent_away_the_youngest_first() -> None:
    there: list[ObservedWorker | WorkerView] = [worker("old", age=60), worker("young", age=1)]
    assert decide_per_task(state(1, *there)).drain == ("young",)


def test_a_worker_that_holds_a_lease_from_before_a_restart_is_left_alone() -> None:
    decision = decide_per_task(state(0, worker("a", RUNNING), demand=Demand(holding=frozenset({"a"}))))
    assert (decision.census.busy, decision.drain, decision.stop) == (("a",), (), ())


def test_while_one_cannot_start_no_more_are_made() -> None:
    stuck = worker("a", trouble=Reason.IMAGE_UNAVAILABLE, message="no such image")
    assert decide_per_task(state(5, stuck)).start == 0


def test_after_an_edit_those_that_cannot_start_are_replaced_at_once() -> None:
    stuck = worker("a", trouble=Reason.IMAGE_UNAVAILABLE, revision="old")
    assert decide_per_task(state(1, stuck)).drain == ("a",)
    assert decide_per_task(state(5, stuck)).start == 4


def test_a_job_that_gets_no_pod_holds_the_others_back() -> None:
    assert decide_per_task(state(5, worker("a", age=POD_SECONDS + 1, without_pod=True))).start == 0
    assert decide_per_task(state(5, worker("a", age=1, without_pod=True))).start == 4


def test_one_that_dies_before_it_has_a_task_is_backed_off() -> None:
    decision = decide_per_task(state(1, worker("a", FAILED, ended_at=NOW)))
    assert (decision.start, decision.crash.streak) == (0, 1)
    assert decision.requeue_after == pytest.approx(1.0)


@pytest.mark.parametrize(
    "dead",
    [
        [worker("a", FAILED, failure=FailureClass.TOOL), session("a", held=1)],
        [worker("a", FAILED, failure=FailureClass.DISRUPTED)],
    ],
)
def test_a_task_that_dies_of_itself_and_a_disruption_are_no_crash_of_the_pool(dead: list[Any]) -> None:
    assert decide_per_task(state(1, *dead)).crash.streak == 0


def test_in_a_crash_loop_one_worker_tries_for_all() -> None:
    assert decide_per_task(state(9, crash=CrashHistory(4, NOW - 100))).start == 1


def test_one_that_got_its_task_ends_a_crash_loop() -> None:
    there: list[ObservedWorker | WorkerView] = [worker("a", RUNNING), session("a", held=1)]
    assert decide_per_task(state(9, *there, crash=CrashHistory(4, NOW - 100))).start == 9


def test_one_that_never_registers_is_stopped() -> None:
    since = {"a": NOW - REGISTER_SECONDS - 1}
    decision = decide_per_task(state(1, worker("a", RUNNING), unregistered_since=since))
    assert (decision.stop, decision.start) == (("a",), 1)


def test_a_task_that_waits_for_its_next_try_is_looked_for_then() -> None:
    assert decide_per_task(state(0, demand=Demand(ripe_in=4.0))).requeue_after == pytest.approx(4.0)


def shown(state: PoolState, type_: str) -> tuple[str, str]:
    status = pool_status(state, decide_per_task(state), name="pool", generation=1, old={})
    assert "lastScale" not in status
    return next((c["status"], c["reason"]) for c in status["conditions"] if c["type"] == type_)


def test_a_pool_without_work_is_ready() -> None:
    assert shown(state(0), "Ready") == ("True", "PodPerTask")
    assert shown(state(3, worker("a")), "Reconciling")[0] == "False"


def test_a_pool_whose_workers_cannot_start_says_why() -> None:
    assert shown(state(1, worker("a", trouble=Reason.UNSCHEDULABLE)), "Ready") == ("False", "Unschedulable")
    assert shown(state(1, worker("a", trouble=Reason.UNSCHEDULABLE)), "Unschedulable")[0] == "True"
    without = worker("a", age=POD_SECONDS + 1, without_pod=True)
    assert shown(state(1, without), "Ready") == ("False", "StartFailed")


WORKERS = st.lists(
    st.tuples(
        st.sampled_from([STARTING, STARTING, RUNNING, RUNNING, STOPPING, FAILED, FINISHED]),
        st.sampled_from(["no session", "idle", "busy", "spent", "draining"]),
        st.sampled_from(["", "", "holds", "left", "asked", "old", "stuck", "trouble"]),
    ),
    max_size=12,
)


@given(workers=WORKERS, tasks=st.integers(0, 20), most=st.integers(0, 8), streak=st.integers(0, 5))
def test_whatever_there_is_none_too_many_is_made_and_none_with_a_task_is_touched(
    workers: list[tuple[WorkerPhase, str, str]], tasks: int, most: int, streak: int
) -> None:
    parts: list[ObservedWorker | WorkerView] = []
    marks: dict[str, set[str]] = {}
    for number, (phase, view, mark) in enumerate(workers):
        name = f"w{number}"
        marks.setdefault(mark, set()).add(name)
        trouble = Reason.UNSCHEDULABLE if mark == "trouble" and phase is STARTING else None
        parts.append(worker(name, phase, revision="old" if mark == "old" else REVISION, trouble=trouble))
        if view != "no session":
            parts.append(
                session(name, held=view == "busy", spent=view in ("busy", "spent"), draining=view == "draining")
            )
    current = state(
        tasks,
        *parts,
        pool=spec(maxWorkers=most),
        demand=Demand(holding=frozenset(marks.get("holds", ())), left=frozenset(marks.get("left", ()))),
        asked_to_leave=frozenset(marks.get("asked", ())),
        unregistered_since=dict.fromkeys(marks.get("stuck", ()), 0.0),
        crash=CrashHistory(streak, NOW - 5 if streak else 0.0),
    )
    decision, census = decide_per_task(current), take_census(current)
    coming = len(census.starting) + len(census.idle)
    assert decision.start <= max(0, tasks - coming)
    assert census.existing + decision.start <= max(most, census.existing)
    assert not {*census.busy} & {*decision.drain, *decision.stop, *decision.remove}
    assert len({*decision.drain} - census.spent - current.asked_to_leave) <= max(0, coming - tasks)
    grouped = [*census.starting, *census.idle, *census.busy, *census.draining_idle, *census.stopping, *census.stuck]
    assert len(grouped) + len(census.failed) + sum(w.phase is FINISHED for w in current.observed) == len(workers)


@dataclass
class World:
    """A cluster and a dispatcher played forward: tasks that wait, Jobs that start late, lease, end, or fail."""

    tasks: int
    now: float = NOW
    workers: dict[str, ObservedWorker] = field(default_factory=dict)
    sessions: dict[str, WorkerView] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    crash: CrashHistory = field(default_factory=CrashHistory)
    made: int = 0
    done: int = 0

    def decide(self) -> None:
        """Look, decide and act, as the reconciler does."""
        current = PoolState(
            spec=spec(maxWorkers=4),
            now=self.now,
            revision=REVISION,
            observed=tuple(self.workers.values()),
            load=PoolLoad(workers=tuple(self.sessions.values())),
            demand=Demand(tasks=self.tasks, longest_seconds=1.0, left=frozenset(self.left)),
            crash=self.crash,
            asked_to_leave=frozenset(self.asked & self.workers.keys()),
        )
        decision = decide_per_task(current)
        self.crash = decision.crash
        for name in (*decision.remove, *decision.stop):
            lost = self.sessions.pop(name, None)
            self.tasks += lost.held if lost is not None else 0
            del self.workers[name]
            self.left.discard(name)
        for name in decision.drain:
            self.asked.add(name)
            self.sessions.pop(name, None)
            self.workers.pop(name)
        for _ in range(decision.start):
            self.made += 1
            self.workers[f"w{self.made}"] = ObservedWorker(f"w{self.made}", STARTING, REVISION, started_at=self.now)
        assert sum(w.phase is not FINISHED for w in self.workers.values()) <= 4

    def step(self, luck: int) -> None:
        """One worker gets one step further, or dies."""
        moving = [w for w in self.workers.values() if w.phase in (STARTING, RUNNING)]
        if not moving:
            return
        chosen = moving[luck % len(moving)]
        view = self.sessions.get(chosen.name)
        if luck % 7 == 0:
            self.workers[chosen.name] = replace(chosen, phase=FAILED, ended_at=self.now)
        elif chosen.phase is STARTING:
            self.workers[chosen.name] = replace(chosen, phase=RUNNING)
        elif chosen.name in self.left:
            self.workers[chosen.name] = replace(chosen, phase=FINISHED)
        elif view is None:
            self.sessions[chosen.name] = session(chosen.name)
        elif view.held:
            self.done += 1
            self.sessions[chosen.name] = replace(view, held=0)
        elif view.spent:
            del self.sessions[chosen.name]
            self.left.add(chosen.name)
        elif self.tasks:
            self.tasks -= 1
            self.sessions[chosen.name] = replace(view, held=1, spent=True)


@settings(max_examples=60)
@given(tasks=st.integers(0, 9), luck=st.lists(st.integers(0, 1000), max_size=60))
def test_every_task_is_done_and_every_worker_goes_whatever_dies_meanwhile(tasks: int, luck: list[int]) -> None:
    world = World(tasks)
    for number in luck:
        world.decide()
        world.step(number)
        world.now += 1.0
    for number in range(400):
        if not world.workers and not world.tasks:
            break
        world.decide()
        world.step(7 * number + 1)
        world.now += 61.0 if number % 5 == 0 else 1.0
    assert (world.tasks, world.done, world.workers) == (0, tasks, {})
