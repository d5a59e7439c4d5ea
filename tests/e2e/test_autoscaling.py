"""Pools of real Pods that follow their work, and what their Pods use."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mahavishnu_operator.control.scaling import AUTOSCALER
from mahavishnu_operator.resources.protocol import WORKER_POOL, Obj
from tests.cluster.client import Cluster
from tests.integration.operator_tools import POOL, counts

from .operating import PodSite
from .telling import PodWitness

pytestmark = pytest.mark.usefixtures("operator")


def owners_of_replicas(pool: Obj) -> set[str]:
    entries = pool["metadata"]["managedFields"]
    return {entry["manager"] for entry in entries if "f:replicas" in entry["fieldsV1"].get("f:spec", {})}


def by_memory(quantity: str) -> dict[str, Any]:
    """An autoscaler of one to three Pods, each of which shall use so much memory."""
    target = {"type": "AverageValue", "averageValue": quantity}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": POOL},
        "spec": {
            "scaleTargetRef": {"apiVersion": "mahavishnu.dev/v1alpha1", "kind": "WorkerPool", "name": POOL},
            "minReplicas": 1,
            "maxReplicas": 3,
            "metrics": [{"type": "Resource", "resource": {"name": "memory", "target": target}}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        },
    }


async def test_a_pool_wakes_from_zero_grows_with_its_backlog_and_goes_back_to_zero(
    site: PodSite, witness: PodWitness
) -> None:
    autoscaling = {"mode": "Internal", "scaleUpThreshold": 2, "scaleUpStep": 2, "scaleDownIdleSeconds": 5}
    await site.pool(autoscaling=autoscaling, replicas=0, maxWorkers=4)
    await site.ready(0)
    tasks = {f"t{number}": witness.command(f"t{number}", seconds=2) for number in range(16)}
    await site.commands("job", *tasks.values())
    grown = await site.until(WORKER_POOL, POOL, lambda s: s.get("ready", 0) > 2)
    assert owners_of_replicas(grown) == {AUTOSCALER}
    assert counts(await site.ended("job")) == {"total": 16, "succeeded": 16}
    asleep = await site.ready(0)
    assert (asleep["status"]["lastScale"]["to"], asleep["status"]["lastScale"]["reason"]) == (0, "WorkersIdle")
    assert all(witness.times_begun(task) == 1 for task in tasks)


async def test_a_real_horizontal_pod_autoscaler_moves_a_pool_by_what_its_pods_use(
    metrics: Cluster, site: PodSite
) -> None:
    await site.pool(autoscaling={"mode": "HPA"}, maxWorkers=3)
    await site.ready(1)
    site.kubectl("create", "-f", "-", input=json.dumps(by_memory("1Mi")))
    assert owners_of_replicas(await site.ready(3)) == {"kube-controller-manager"}
    autoscaler = metrics.json("get", "hpa", POOL, "-n", site.namespace)
    active = next(c for c in autoscaler["status"]["conditions"] if c["type"] == "ScalingActive")
    assert (active["status"], active["reason"]) == ("True", "ValidMetricFound")
    site.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=json.dumps(by_memory("8Gi")))
    await site.ready(1)
