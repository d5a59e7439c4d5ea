"""What is kept of a Pod, a Job or a node says all that is asked of it."""

from __future__ import annotations

from typing import Any

import pytest

from mahavishnu_operator.backends.kubernetes.ends import judge_end
from mahavishnu_operator.backends.kubernetes.keeping import keep_node, keep_worker
from mahavishnu_operator.backends.kubernetes.ownership import pool_of
from mahavishnu_operator.backends.kubernetes.phases import observe_pod
from mahavishnu_operator.backends.kubernetes.pods import worker_pod
from mahavishnu_operator.backends.kubernetes.settings import KubernetesSettings
from mahavishnu_operator.backends.protocol import PoolTemplate
from mahavishnu_operator.resources.protocol import Key

STATES: list[dict[str, Any]] = [
    {"running": {"startedAt": "2026-11-25T04:00:00Z"}},
    {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}},
    {"terminated": {"exitCode": 137, "reason": "OOMKilled", "signal": 9, "finishedAt": "2026-11-25T04:01:00Z"}},
]
REFUSED = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: too large"}
EVICTED = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "drained"}
STATUSES: list[dict[str, Any]] = [
    {"phase": "Pending"},
    {"phase": "Pending", "conditions": [REFUSED]},
    {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory.", "conditions": [EVICTED]},
    *({"phase": "Running", "containerStatuses": [{"name": "runner", "state": state}]} for state in STATES),
    *({"phase": "Pending", "initContainerStatuses": [{"name": "runner", "state": state}]} for state in STATES),
]


def as_the_server_tells(status: dict[str, Any]) -> dict[str, Any]:
    template = PoolTemplate(key=Key("ns", "pool"), uid="u1", slots=1, spec={"backend": "kubernetes"}, revision="r1")
    pod = worker_pod(template, "w-1", KubernetesSettings(image="i", dispatcher_url="http://d"))
    pod["metadata"] |= {"uid": "p1", "resourceVersion": "7", "creationTimestamp": "2026-11-25T03:59:00Z"}
    pod["metadata"]["managedFields"] = [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}]
    pod["spec"]["nodeName"] = "n1"
    return pod | {"status": {"startTime": "2026-11-25T03:59:01Z", "hostIP": "127.0.0.1", **status}}


@pytest.mark.parametrize("status", STATUSES)
def test_a_kept_pod_is_the_same_worker(status: dict[str, Any]) -> None:
    pod = as_the_server_tells(status)
    kept = keep_worker(pod)
    assert (observe_pod(kept), pool_of(kept)) == (observe_pod(pod), pool_of(pod))


@pytest.mark.parametrize("status", STATUSES)
def test_a_kept_pod_has_come_to_the_same_end(status: dict[str, Any]) -> None:
    pod = as_the_server_tells(status)
    assert judge_end(None, keep_worker(pod)) == judge_end(None, pod)


def test_where_a_pod_runs_is_kept_and_what_it_runs_is_not() -> None:
    kept = keep_worker(as_the_server_tells(STATUSES[0]))
    assert kept["spec"] == {"nodeName": "n1"}
    assert "managedFields" not in kept["metadata"]


def test_of_a_node_it_is_kept_whether_it_takes_new_work() -> None:
    meta = {"name": "n1", "uid": "n", "resourceVersion": "3", "labels": {"a": "b"}}
    node = {"metadata": meta, "spec": {"unschedulable": True, "podCIDR": "10.0.0.0/24"}, "status": {"images": ["i"]}}
    assert keep_node(node) == {
        "metadata": {"name": "n1", "uid": "n", "resourceVersion": "3"},
        "spec": {"unschedulable": True},
    }
