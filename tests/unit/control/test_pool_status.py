from __future__ import annotations

from typing import Any

import pytest

from mahavishnu_operator.api.reasons import Reason
from mahavishnu_operator.backends.protocol import WorkerPhase
from mahavishnu_operator.control.acceptance import Refusal
from mahavishnu_operator.control.census import PoolState
from mahavishnu_operator.control.crashes import CrashHistory
from mahavishnu_operator.control.pool_status import pool_status
from mahavishnu_operator.control.pools import decide_pool

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
            "Stalled": ("True", "BackendDisabled"),
        },
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


def test_a_pool_that_never_scaled_has_no_latest_scale() -> None:
    assert "lastScale" not in status(state(spec(replicas=0)))
