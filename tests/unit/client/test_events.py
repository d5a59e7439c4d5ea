from __future__ import annotations

from typing import Any

import pytest

from mahavishnu_operator.client.events import Happened, happenings
from mahavishnu_operator.resources.protocol import SCAN_JOB, WORKER_POOL, Kind, Obj


def an_object(**status: Any) -> Obj:
    return {"metadata": {"namespace": "default", "name": "x", "uid": "1"}, "spec": {}, "status": status}


SCALE = {"time": "t", "from": 1, "to": 3, "reason": "BacklogHigh"}


@pytest.mark.parametrize(
    ("kind", "old", "new", "expected"),
    [
        (WORKER_POOL, None, an_object(), [(Happened.POOL_SPAWNED, {})]),
        (WORKER_POOL, an_object(), None, [(Happened.POOL_CLOSED, {})]),
        (
            WORKER_POOL,
            an_object(),
            an_object(lastScale=SCALE),
            [(Happened.POOL_SCALED, {"from": 1, "to": 3, "reason": "BacklogHigh"})],
        ),
        (WORKER_POOL, an_object(lastScale=SCALE), an_object(lastScale=SCALE, ready=3), []),
        (
            WORKER_POOL,
            an_object(failedWorkersTotal=1),
            an_object(failedWorkersTotal=3),
            [(Happened.WORKER_FAILED, {"workers": 2})],
        ),
        (WORKER_POOL, an_object(failed=3), an_object(failed=0), []),
        (SCAN_JOB, None, an_object(), [(Happened.JOB_SUBMITTED, {})]),
        (
            SCAN_JOB,
            an_object(),
            an_object(phase="Running", tasks={"running": 2}),
            [(Happened.TASK_DELEGATED, {"tasks": 2})],
        ),
        (
            SCAN_JOB,
            an_object(phase="Running", tasks={"running": 2}),
            an_object(phase="Succeeded", verdict="Passed", tasks={"succeeded": 1, "failed": 1}),
            [
                (Happened.TASK_COMPLETED, {"tasks": 1}),
                (Happened.TASK_FAILED, {"tasks": 1}),
                (Happened.JOB_COMPLETED, {"verdict": "Passed"}),
            ],
        ),
        (
            SCAN_JOB,
            an_object(phase="Running"),
            an_object(phase="Cancelled"),
            [(Happened.JOB_CANCELLED, {"verdict": "Pending"})],
        ),
        (SCAN_JOB, an_object(phase="Succeeded"), None, []),
    ],
)
def test_what_happened_is_the_difference_of_two_states(
    kind: Kind, old: Obj | None, new: Obj | None, expected: list[tuple[Happened, dict[str, Any]]]
) -> None:
    assert [(each.what, each.details) for each in happenings(kind, old, new)] == expected
