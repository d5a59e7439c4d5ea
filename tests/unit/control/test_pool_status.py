from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mahavishnu_operator.api.reasons import Reason
from mahavishnu_operator.backends.protocol import ObservedWorker, WorkerPhase
from mahavishnu_operator.control.acceptance import Refusal
from mahavishnu_operator.control.autoscaling import ScaleDecision
from mahavishnu_operator.control.census import PoolState
from mahavishnu_operator.control.crashes import CrashHistory
from mahavishnu_operator.control.pool_reconciler import NO_WORKERS
from mahavishnu_operator.control.pool_status import pool_status
from mahavishnu_operator.control.pools import decide_pool
from mahavishnu_operator.dispatch.protocol import PoolLoad

from .test_pools import NOW, both, process, spec, state


def status(given: PoolState, old: dict[str, Any] | None = None) -> dict[str, Any]:
    return pool_status(given, decide_pool(given), name="p", generation=4, old=old or {})


def conditions(given: PoolState) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in status(given)["conditions"]}


def test_the_numbers_of_a_mixed_pool() -> None:
    workers = [*both("a"), *both("b", held=1), *both("c", draining=True, held=1), process("d", WorkerPhase.FAILED)]
    found = status(state(spec(replicas=2), *workers))
    names = ("replicas", "ready", "idle", "busy", "draining", "failed")
    assert {name: found[name] for name in names} == dict(zip(names, (3, 2, 1, 1, 1, 1), strict=True))
    assert (found["selector"], found["observedGeneration"]) == ("mahavishnu.dev/pool=p", 4)


def test_workers_that_died_are_counted_on_and_not_mentioned_where_none_did() -> None:
    given = state(spec(replicas=1), *both("a"))
    first = pool_status(given, decide_pool(given), name="p", generation=1, old={}, died=2)
    again = pool_status(given, decide_pool(given), name="p", generation=1, old=first, died=1)
    later = pool_status(given, decide_pool(given), name="p", generation=1, old=again)
    assert [each["failedWorkersTotal"] for each in (first, again, later)] == [2, 3, 3]
    assert "failedWorkersTotal" not in status(given)


ROWS: list[tuple[str, PoolState, dict[str, tuple[str, str]]]] = [
    (
        "steady",
        state(spec(replicas=1), *both("a")),
        {"Ready": ("True", "WorkersReady"), "ScalingActive": ("False", "Steady"), "Reconciling": ("False", "Steady")},
    ),
    (
        "scaling up",
        state(spec(replicas=2), *both("a")),
        {"Ready": ("False", "ScalingUp"), "ScalingActive": ("True", "ScalingUp"), "Stalled": ("False", "ScalingUp")},
    ),
    (
        "blocked by busy workers",
        state(spec(replicas=0), *both("a", held=1)),
        {"ScaleDownBlocked": ("True", "WorkersBusy"), "ScalingActive": ("True", "ScalingDown")},
    ),
    (
        "a rolling replacement blocks nothing",
        state(spec(replicas=1), *both("a", held=1, revision="old")),
        {"ScaleDownBlocked": ("False", "Steady"), "Ready": ("True", "WorkersReady")},
    ),
    ("nobody is wanted", state(spec(replicas=0)), {"Ready": ("True", "ScaledToZero")}),
    (
        "suspended",
        state(spec(replicas=2, suspend=True)),
        {"Ready": ("True", "PoolSuspended"), "ScalingActive": ("False", "PoolSuspended")},
    ),
    (
        "a crash loop",
        state(spec(), crash=CrashHistory(streak=3, last_death_at=NOW, message="exit code 7")),
        {"Ready": ("False", "CrashLoop"), "Stalled": ("True", "CrashLoop"), "Reconciling": ("False", "CrashLoop")},
    ),
    (
        "the backend fails",
        state(spec(), backend_error="no more processes"),
        {"BackendReachable": ("False", "BackendError"), "Ready": ("False", "BackendError")},
    ),
    (
        "refused",
        state(spec(), refusal=Refusal(Reason.BACKEND_DISABLED, "switched off")),
        {
            "Accepted": ("False", "BackendDisabled"),
            "BackendReachable": ("Unknown", "BackendDisabled"),
            "ScalingActive": ("False", "BackendDisabled"),
            "Stalled": ("True", "BackendDisabled"),
        },
    ),
    (
        "refused, and its spec cannot be read",
        state(NO_WORKERS, refusal=Refusal(Reason.NOT_IMPLEMENTED, "not yet")),
        {"Ready": ("False", "NotImplemented"), "ScalingActive": ("False", "NotImplemented")},
    ),
]


@pytest.mark.parametrize(("given", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_conditions(given: PoolState, expected: dict[str, tuple[str, str]]) -> None:
    found = conditions(given)
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("given", [row[1] for row in ROWS], ids=[row[0] for row in ROWS])
def test_every_condition_is_always_there_and_kstatus_is_never_of_two_minds(given: PoolState) -> None:
    found = conditions(given)
    assert set(found) == {
        "Accepted",
        "Ready",
        "BackendReachable",
        "ScalingActive",
        "ScaleDownBlocked",
        "Unschedulable",
        "Reconciling",
        "Stalled",
    }
    assert not (found["Reconciling"][0] == "True" and found["Stalled"][0] == "True")


def test_a_crash_loop_says_the_last_words() -> None:
    given = state(spec(), crash=CrashHistory(streak=3, last_death_at=NOW, message="exit code 7: no module named x"))
    message = next(c["message"] for c in status(given)["conditions"] if c["type"] == "Ready")
    assert "exit code 7: no module named x" in message


def test_the_latest_scale_is_remembered_by_the_status_itself() -> None:
    first = status(state(spec(replicas=3)))
    assert {k: first["lastScale"][k] for k in ("from", "to", "reason")} == {"from": 0, "to": 3, "reason": "ScalingUp"}
    assert status(state(spec(replicas=3)), first)["lastScale"] == first["lastScale"]
    down = status(state(spec(replicas=3, suspend=True)), first)["lastScale"]
    assert (down["from"], down["to"], down["reason"]) == (3, 0, "PoolSuspended")
    refused = status(state(NO_WORKERS, refusal=Refusal(Reason.NOT_IMPLEMENTED, "not yet")), first)["lastScale"]
    assert (refused["to"], refused["reason"]) == (0, "NotImplemented")


def test_a_pool_that_never_scaled_has_no_latest_scale() -> None:
    assert "lastScale" not in status(state(spec(replicas=0)))


def not_begun(name: str, *, age: float, **fields: Any) -> ObservedWorker:
    return replace(process(name, WorkerPhase.STARTING, age=age), message="container agent: ContainerCreating", **fields)


@pytest.mark.parametrize(("age", "reason"), [(299.0, "ScalingUp"), (300.0, "PendingTooLong")])
def test_a_worker_that_does_not_begin_is_in_trouble_after_five_minutes_whatever_the_reason(
    age: float, reason: str
) -> None:
    given = state(spec(replicas=1), not_begun("a", age=age))
    assert conditions(given)["Ready"] == ("False", reason)
    assert (decide_pool(given).start, status(given)["ready"]) == (0, 0)


def test_the_words_of_the_backend_are_shown_for_a_worker_that_is_late() -> None:
    given = state(spec(replicas=1), not_begun("a", age=400.0))
    message = next(c["message"] for c in status(given)["conditions"] if c["type"] == "Ready")
    assert message == "worker a has not begun for 300 s: container agent: ContainerCreating"


def test_that_no_node_takes_a_worker_is_said_before_anything_else() -> None:
    workers = [
        not_begun("a", age=400.0),
        not_begun("b", age=9.0, trouble=Reason.IMAGE_UNAVAILABLE),
        not_begun("c", age=9.0, trouble=Reason.UNSCHEDULABLE),
    ]
    assert conditions(state(spec(replicas=3), *workers))["Ready"] == ("False", "Unschedulable")


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        (ScaleDecision(), ("False", "Steady")),
        (ScaleDecision(3, Reason.BACKLOG_HIGH, "about to be"), ("False", "Steady")),
        (ScaleDecision(reason=Reason.AT_MAXIMUM, message="50 tasks wait"), ("False", "AtMaximum")),
        (ScaleDecision(reason=Reason.COOLING_DOWN), ("False", "CoolingDown")),
    ],
)
def test_scaling_active_says_why_not(scaling: ScaleDecision, expected: tuple[str, str]) -> None:
    given = state(spec(replicas=1), *both("a"))
    found = pool_status(given, decide_pool(given), name="p", generation=1, old={}, scaling=scaling)
    entry = next(c for c in found["conditions"] if c["type"] == "ScalingActive")
    assert (entry["status"], entry["reason"]) == expected


def test_the_latest_scale_has_the_autoscalers_reason_when_it_was_its_number() -> None:
    old = status(state(spec(replicas=1)))
    for scaled, reason in (((3, Reason.BACKLOG_HIGH), "BacklogHigh"), ((5, Reason.BACKLOG_HIGH), "ScalingUp")):
        assert status(state(spec(replicas=3), scaled=scaled), old)["lastScale"]["reason"] == reason


def test_since_when_a_pool_is_idle_outlives_the_operator_that_saw_it() -> None:
    def idle(since: float, **load: Any) -> PoolState:
        return replace(state(spec(replicas=0)), load=PoolLoad(idle_since=since, idle_seconds=1.0, **load))

    old = status(idle(NOW - 500))
    assert status(idle(NOW - 1), old)["idleSince"] == old["idleSince"]
    assert status(idle(NOW - 1, completed_total=1), old)["idleSince"] > old["idleSince"]
