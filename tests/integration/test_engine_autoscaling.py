"""A pool of mode Internal without a cluster, with real workers: up for its work, down when it is idle, quiet after."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from mahavishnu_operator.control.scaling import AUTOSCALER
from mahavishnu_operator.resources.protocol import SCAN_JOB, WORKER_POOL, Key, Obj

from .engine_tools import JOB, POOL, commands, condition, ended, engine, pool, until_pool
from .test_engine_pools import agents

NAP = [sys.executable, "-c", "import time; time.sleep(0.3)"]


def scaled_pool(**spec: Any) -> Obj:
    autoscaling = {"mode": "Internal", "scaleUpThreshold": 2, "scaleUpStep": 2, "scaleDownIdleSeconds": 2}
    autoscaling |= spec.pop("autoscaling", {})
    return pool(replicas=0, maxWorkers=3, autoscaling=autoscaling, allowedCommands=["any"], **spec)


async def test_a_pool_at_zero_wakes_for_a_job_and_goes_back_to_zero(tmp_path: Path) -> None:
    async with engine(tmp_path) as made:
        await made.resources.create(WORKER_POOL, scaled_pool())
        await until_pool(made, lambda status: condition(status, "Ready") == ("True", "ScaledToZero"))
        await made.resources.create(SCAN_JOB, commands(["true"]))
        assert (await ended(made))["phase"] == "Succeeded"
        woken = await made.resources.get(WORKER_POOL, POOL)
        assert (woken["spec"]["replicas"], woken["status"]["lastScale"]["reason"]) == (1, "TasksWaiting")
        asleep = await until_pool(made, lambda status: status["replicas"] == 0 and not status["draining"])
        last = asleep["status"]["lastScale"]
        assert (last["from"], last["to"], last["reason"]) == (1, 0, "WorkersIdle")
        assert asleep["status"]["idleSince"]
        assert agents(tmp_path) == {}


async def test_a_backlog_adds_workers_up_to_the_greatest_number_and_no_more(tmp_path: Path) -> None:
    most = 0
    async with engine(tmp_path) as made:
        await made.resources.create(WORKER_POOL, scaled_pool(autoscaling={"scaleUpStep": 9}))
        await made.resources.create(SCAN_JOB, commands(*[NAP] * 40))

        def at_most(status: dict[str, Any]) -> bool:
            nonlocal most
            most = max(most, len(agents(tmp_path)), status.get("replicas", 0))
            return condition(status, "ScalingActive") == ("False", "AtMaximum")

        crowded = await until_pool(made, at_most)
        assert crowded["spec"]["replicas"] == 3
        assert (await ended(made))["tasks"]["succeeded"] == 40
    assert most == 3


async def test_replicas_are_written_by_a_manager_of_their_own_and_an_apply_without_them_leaves_them(
    tmp_path: Path,
) -> None:
    manifest = scaled_pool(autoscaling={"scaleDownIdleSeconds": 600})
    del manifest["spec"]["replicas"]
    async with engine(tmp_path) as made:
        await made.resources.apply(WORKER_POOL, manifest, field_manager="gitops")
        await made.resources.scale(WORKER_POOL, POOL, 0)
        await until_pool(made, lambda status: condition(status, "Ready")[1] == "ScaledToZero")
        await made.resources.create(SCAN_JOB, commands(NAP, NAP))
        await until_pool(made, lambda status: status.get("ready") == 2)
        manifest["spec"]["workerClass"] = "fast"
        applied = await made.resources.apply(WORKER_POOL, manifest, field_manager="gitops")
        assert applied["spec"]["replicas"] == 2
        owners = {
            entry["manager"]
            for entry in applied["metadata"]["managedFields"]
            if "f:replicas" in entry["fieldsV1"].get("f:spec", {})
        }
        assert owners == {AUTOSCALER}


async def test_work_for_a_worker_that_is_not_there_wakes_nobody(tmp_path: Path) -> None:
    async with engine(tmp_path) as made:
        await made.resources.create(WORKER_POOL, scaled_pool())
        named = commands(["true"], poolRef=None, routing={"pools": [POOL.name], "workerName": "gone"})
        del named["spec"]["poolRef"]
        await made.resources.create(SCAN_JOB, named | {"metadata": {"name": "named", "namespace": "default"}})
        waiting = await until_pool(made, lambda status: status.get("pendingTasks") == 1)
        assert waiting["spec"]["replicas"] == 0
        await made.resources.create(SCAN_JOB, commands(["true"]))
        assert (await ended(made, JOB))["phase"] == "Succeeded"
        await until_pool(made, lambda status: (status["replicas"], status["pendingTasks"]) == (0, 1))


async def test_a_job_of_parallelism_one_gets_one_worker_however_long_it_is(tmp_path: Path) -> None:
    async with engine(tmp_path) as made:
        await made.resources.create(WORKER_POOL, scaled_pool())
        await made.resources.create(SCAN_JOB, commands(*[["true"]] * 30, parallelism=1))
        assert (await ended(made))["tasks"]["succeeded"] == 30
        status = (await made.resources.get(WORKER_POOL, POOL))["status"]
        assert (status["lastScale"]["to"], status["lastScale"]["reason"]) == (1, "TasksWaiting")


async def test_idle_pools_are_written_to_by_nobody(tmp_path: Path) -> None:
    keys = [Key("default", f"pool-{number}") for number in range(100)]
    async with engine(tmp_path) as made:
        for key in keys:
            await made.resources.create(WORKER_POOL, scaled_pool() | {"metadata": {"name": key.name}})

        async def settled() -> bool:
            pools = (await made.resources.list(WORKER_POOL)).items
            return all(condition(obj["status"], "Ready")[1] == "ScaledToZero" for obj in pools)

        async with asyncio.timeout(60):
            while not await settled():  # noqa: ASYNC110 -- a hundred watches would be the greater burden
                await asyncio.sleep(0.1)
        before = (await made.resources.list(WORKER_POOL)).resource_version
        await asyncio.sleep(5)  # longer than scaleDownIdleSeconds and the pause between two statuses
        assert (await made.resources.list(WORKER_POOL)).resource_version == before
