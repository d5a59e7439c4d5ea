from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from mahavishnu_operator.client.pools import Pool, PoolState
from mahavishnu_operator.resources.protocol import Obj


def a_pool(*, meta: dict[str, Any] | None = None, spec: dict[str, Any] | None = None, **status: Any) -> Obj:
    conditions = [
        {"type": type_, "status": said[0], "reason": said[1] if len(said) > 1 else "", "message": ""}
        for type_, said in status.pop("conditions", {}).items()
    ]
    metadata = {"name": "p", "namespace": "ns", "uid": "1", "generation": 2} | (meta or {})
    fields = {"backend": "local-process", "minWorkers": 1, "maxWorkers": 4} | (spec or {})
    return {"metadata": metadata, "spec": fields, "status": {**status, "conditions": conditions}}


READY = {"Accepted": ("True",), "Ready": ("True", "WorkersReady")}
STATES: list[tuple[Obj, PoolState]] = [
    (a_pool(), PoolState.PENDING),
    (a_pool(observedGeneration=2, conditions={"Accepted": ("False", "Invalid")}), PoolState.FAILED),
    (a_pool(observedGeneration=2, conditions={"Ready": ("False", "ScalingUp")}), PoolState.INITIALIZING),
    (a_pool(observedGeneration=2, ready=1, conditions={"Ready": ("False", "ScalingUp")}), PoolState.SCALING),
    (a_pool(observedGeneration=2, ready=1, conditions=READY), PoolState.RUNNING),
    (a_pool(observedGeneration=2, ready=1, conditions={**READY, "ScalingActive": ("True",)}), PoolState.SCALING),
    (a_pool(observedGeneration=2, conditions={"Ready": ("False", "CrashLoop")}), PoolState.DEGRADED),
    (a_pool(observedGeneration=2, conditions={"Ready": ("False", "Unschedulable")}), PoolState.DEGRADED),
    (a_pool(spec={"suspend": True}, observedGeneration=2, conditions=READY), PoolState.STOPPED),
    (a_pool(meta={"deletionTimestamp": "t"}, observedGeneration=2, conditions=READY), PoolState.STOPPED),
]


@pytest.mark.parametrize(("obj", "state"), STATES)
def test_a_pools_state_is_read_off_its_conditions(obj: Obj, state: PoolState) -> None:
    assert Pool.of(obj).state is state


@pytest.mark.parametrize(
    ("seen", "ready", "settled"), [(2, 1, True), (1, 1, False), (2, 0, False)], ids=["now", "older spec", "no worker"]
)
def test_a_pool_is_settled_once_the_latest_spec_has_its_workers(seen: int, ready: int, settled: bool) -> None:
    assert Pool.of(a_pool(observedGeneration=seen, ready=ready, conditions=READY)).settled is settled


def test_a_pool_has_been_idle_since_its_last_work() -> None:
    now = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
    assert Pool.of(a_pool(idleSince="2026-01-01T00:00:00Z")).idle_seconds(now) == 60
    assert Pool.of(a_pool(idleSince="2026-01-01T00:00:00Z", runningTasks=1)).idle_seconds(now) == 0
    assert Pool.of(a_pool()).idle_seconds(now) == 0
