"""A pool of mode Internal on a real API server: one number, and three who have a say about it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mahavishnu_operator.control.scaling import AUTOSCALER
from mahavishnu_operator.resources.protocol import WORKER_POOL

from .operator_tools import GATED, POOL, OperatorProcess, Site, condition, counts, python, written

pytestmark = pytest.mark.usefixtures("operator")

NAP = [sys.executable, "-c", "import time; time.sleep(0.3)"]


async def scaled_pool(site: Site, **spec: Any) -> None:
    autoscaling = {"mode": "Internal", "scaleUpThreshold": 2, "scaleUpStep": 2, "scaleDownIdleSeconds": 3}
    fields: dict[str, Any] = {"autoscaling": autoscaling, "maxWorkers": 3, "replicas": 0}
    await site.pool(**(fields | spec))


async def test_a_pool_at_zero_wakes_for_a_job_and_goes_back_to_zero(site: Site) -> None:
    await scaled_pool(site)
    await site.commands("job", *[NAP] * 6)
    assert counts(await site.ended("job")) == {"total": 6, "succeeded": 6}
    asleep = await site.ready(0)
    last = asleep["status"]["lastScale"]
    assert (asleep["spec"]["replicas"], last["to"], last["reason"]) == (0, 0, "WorkersIdle")
    assert condition(asleep["status"], "ScalingActive") == ("False", "Steady")


@pytest.mark.parametrize(
    "how", [("apply", "--server-side", "--field-manager=gitops"), ("apply",)], ids=["server-side", "client-side"]
)
async def test_a_manifest_without_replicas_is_applied_again_and_changes_nothing(
    site: Site, how: tuple[str, ...]
) -> None:
    autoscaling = {"mode": "Internal", "scaleUpThreshold": 2, "scaleUpStep": 9, "scaleDownIdleSeconds": 600}
    spec = {"backend": "local-process", "allowedCommands": ["any"], "maxWorkers": 2, "autoscaling": autoscaling}
    manifest = {"apiVersion": "mahavishnu.dev/v1alpha1", "kind": "WorkerPool", "metadata": {"name": POOL}, "spec": spec}
    site.kubectl(*how, "-f", "-", input=json.dumps(manifest))
    site.kubectl("scale", "wp", POOL, "--replicas=0")
    await site.ready(0)
    await site.commands("job", ["true"], ["true"])
    assert (await site.ready(2))["status"]["lastScale"]["reason"] == "TasksWaiting"
    spec["workerClass"] = "fast"
    site.kubectl(*how, "-f", "-", input=json.dumps(manifest))
    pool = await site.resources.get(WORKER_POOL, site.key(POOL))
    assert (pool["spec"]["replicas"], pool["spec"]["workerClass"]) == (2, "fast")
    owners = {
        (entry["manager"], entry.get("subresource"))
        for entry in pool["metadata"]["managedFields"]
        if "f:replicas" in entry["fieldsV1"].get("f:spec", {})
    }
    # Of what an applied object has by default a server tracks no writer; nobody else may be one.
    assert owners <= {(AUTOSCALER, "scale")}


async def test_who_scales_by_hand_is_followed_until_there_is_a_reason_to_change(site: Site) -> None:
    await scaled_pool(site)
    site.kubectl("scale", "wp", POOL, "--replicas=2")
    by_hand = await site.until(WORKER_POOL, POOL, lambda s: (s.get("lastScale") or {}).get("to") == 2)
    assert by_hand["status"]["lastScale"]["reason"] == "ScalingUp"
    later = await site.until(WORKER_POOL, POOL, lambda s: s["lastScale"]["to"] == 0)
    assert later["status"]["lastScale"]["reason"] == "WorkersIdle"


async def test_a_busy_worker_is_kept_while_idle_ones_beside_it_are_scaled_away(site: Site, root: Path) -> None:
    began, gate = root / "autoscaled-began", root / "autoscaled-gate"
    await scaled_pool(site)
    await site.commands("job", python(GATED, began, gate))
    await written(began)
    site.kubectl("scale", "wp", POOL, "--replicas=3")
    await site.ready(3)
    alone = await site.until(WORKER_POOL, POOL, lambda s: (s["replicas"], s["busy"], s["draining"]) == (1, 1, 0))
    assert alone["status"]["lastScale"]["reason"] == "WorkersIdle"
    gate.touch()
    assert counts(await site.ended("job")) == {"total": 1, "succeeded": 1}
    await site.ready(0)


async def test_a_restarted_operator_goes_on_where_the_other_was(site: Site, operator: OperatorProcess) -> None:
    await scaled_pool(site)
    await site.commands("job", *[NAP] * 6)
    await site.until(WORKER_POOL, POOL, lambda s: s.get("ready", 0) > 0)
    operator.process.kill()
    operator.start()
    assert counts(await site.ended("job"))["succeeded"] == 6
    await site.ready(0)


async def test_a_suspended_pool_is_left_alone(site: Site) -> None:
    await scaled_pool(site, suspend=True)
    await site.commands("job", ["true"])
    await site.until(WORKER_POOL, POOL, lambda s: condition(s, "Ready") == ("True", "PoolSuspended"))
    site.kubectl("patch", "wp", POOL, "--type=merge", "-p", '{"spec":{"suspend":false}}')
    assert (await site.ended("job"))["phase"] == "Succeeded"
