"""What a Pod is as a worker, over the states that kubelets report."""

from __future__ import annotations

from typing import Any

import pytest

from mahavishnu_operator.api.reasons import Reason
from mahavishnu_operator.backends.kubernetes.phases import STUCK_WAITING, observe_pod
from mahavishnu_operator.backends.protocol import WorkerPhase

RUNNING: dict[str, Any] = {"running": {"startedAt": "2026-11-25T04:00:00Z"}}


def pod(phase: str = "Pending", *states: dict[str, Any], **status: Any) -> dict[str, Any]:
    containers = [{"name": name, "state": state} for name, state in zip(("agent", "runner"), states, strict=False)]
    meta = {"name": "w-1", "creationTimestamp": "2026-11-25T03:59:00Z"}
    return {"metadata": meta, "status": {"phase": phase, "containerStatuses": containers, **status}}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def terminated(code: int, reason: str = "", **more: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "finishedAt": "2026-11-25T04:01:00Z", **more}}


def test_a_new_pod_is_starting() -> None:
    worker = observe_pod(pod())
    assert (worker.name, worker.phase, worker.trouble) == ("w-1", WorkerPhase.STARTING, None)


def test_a_pod_with_both_containers_running_is_running() -> None:
    assert observe_pod(pod("Running", RUNNING, RUNNING)).phase is WorkerPhase.RUNNING


def test_a_pod_with_one_container_still_to_start_is_starting() -> None:
    assert observe_pod(pod("Running", RUNNING, waiting("ContainerCreating"))).phase is WorkerPhase.STARTING


def test_a_pod_that_is_being_deleted_is_stopping() -> None:
    deleted = pod("Running", RUNNING, RUNNING)
    deleted["metadata"]["deletionTimestamp"] = "2026-11-25T04:02:00Z"
    assert observe_pod(deleted).phase is WorkerPhase.STOPPING


@pytest.mark.parametrize(("reason", "trouble"), sorted(STUCK_WAITING.items()))
def test_a_container_that_cannot_start_is_trouble_in_the_kubelets_words(reason: str, trouble: Reason) -> None:
    worker = observe_pod(pod("Pending", RUNNING, waiting(reason, "because of this")))
    assert (worker.phase, worker.trouble) == (WorkerPhase.STARTING, trouble)
    assert worker.message == f"container runner: {reason}: because of this"


def test_a_pod_that_no_node_takes_is_trouble_in_the_schedulers_words() -> None:
    refused = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: too large"}
    worker = observe_pod(pod(conditions=[refused]))
    assert (worker.trouble, worker.message) == (Reason.UNSCHEDULABLE, "0/1 nodes: too large")


def test_a_pod_on_its_way_says_where_it_is_without_trouble() -> None:
    gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "a gate is closed"}
    worker = observe_pod(pod("Pending", waiting("ContainerCreating"), conditions=[gated]))
    assert worker.trouble is None
    assert worker.message == "container agent: ContainerCreating; PodScheduled is false: a gate is closed"


@pytest.mark.parametrize("phase", ["Running", "Failed"])
def test_one_container_that_ended_is_the_end_of_the_worker(phase: str) -> None:
    worker = observe_pod(pod(phase, RUNNING, terminated(137, "OOMKilled", signal=9)))
    assert worker.phase is WorkerPhase.FAILED
    assert worker.message == "container runner ended with signal 9: OOMKilled"
    assert worker.ended_at is not None


def test_an_evicted_pod_says_why_though_its_containers_do_not() -> None:
    message = "The node was low on resource: memory."
    worker = observe_pod(pod("Failed", reason="Evicted", message=message))
    assert (worker.phase, worker.message) == (WorkerPhase.FAILED, f"Evicted: {message}")


def test_a_disrupted_pod_says_by_what() -> None:
    disrupted = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "drained"}
    worker = observe_pod(pod("Failed", terminated(143, "Error"), conditions=[disrupted]))
    assert worker.message.startswith("EvictionByEvictionAPI: drained; container agent ended with exit code 143")


def test_a_pod_that_ended_well_is_no_worker_any_more() -> None:
    worker = observe_pod(pod("Succeeded", terminated(0, "Completed"), terminated(0, "Completed")))
    assert (worker.phase, worker.message) == (WorkerPhase.FAILED, "its containers ended by themselves")
