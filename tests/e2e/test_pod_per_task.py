"""Isolation PerTask on a real node: a Job and a Pod of its own for each task, and nothing of them afterwards."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mahavishnu_operator.backends.kubernetes.settings import JOB
from mahavishnu_operator.resources.protocol import WORKER_POOL, Obj
from tests.integration.operator_tools import POOL, OperatorProcess, condition, counts, message

from .operating import SMALL, PodSite, python_task
from .telling import PodWitness

pytestmark = pytest.mark.usefixtures("operator")

WHERE = "import socket; print(socket.gethostname())"
HUNGRY = "held = []\nwhile True: held.append(bytearray(b'x') * 10_000_000)"


async def pool(site: PodSite, **spec: Any) -> Obj:
    return await site.pool(isolation="PerTask", **spec)


async def until_nothing_is_left(site: PodSite) -> None:
    await site.until(WORKER_POOL, POOL, lambda s: s.get("replicas") == 0)
    await site.pods.pods(0)
    assert (await site.resources.list(JOB, namespace=site.namespace)).items == ()


async def run_tasks_in_pods(tasks: int, site: PodSite, operator: OperatorProcess) -> None:
    """As many Pods as tasks, half of them at a time, and none of them afterwards."""
    await pool(site, maxWorkers=tasks // 2)
    began = time.monotonic()
    job = await site.commands("job", *[python_task(WHERE)] * tasks)
    assert counts(await site.ended("job")) == {"total": tasks, "succeeded": tasks}
    print(f"{tasks} tasks, {tasks} Pods, {tasks // 2} at a time: {time.monotonic() - began:.1f} s")
    assert len({operator.output(job, f"t{number}") for number in range(tasks)}) == tasks
    await until_nothing_is_left(site)


async def test_six_tasks_run_in_six_pods_that_go_afterwards(site: PodSite, operator: OperatorProcess) -> None:
    await run_tasks_in_pods(6, site, operator)


@pytest.mark.long
async def test_twenty_tasks_run_in_twenty_pods(site: PodSite, operator: OperatorProcess) -> None:
    await run_tasks_in_pods(20, site, operator)


async def test_a_task_that_eats_all_memory_fails_and_the_pool_goes_on(site: PodSite) -> None:
    small = {"requests": SMALL["requests"], "limits": {"cpu": "2", "memory": "256Mi"}}
    await pool(site, kubernetes={"resources": small})
    await site.commands("hungry", python_task(HUNGRY), maxAttempts=1)
    status = await site.ended("hungry")
    assert counts(status) == {"total": 1, "failed": 1}, status
    await site.commands("job", ["true"])
    assert (await site.ended("job"))["phase"] == "Succeeded"
    obj = await site.resources.get(WORKER_POOL, site.key(POOL))
    assert condition(obj["status"], "Ready")[0] == "True"


async def test_an_image_that_does_not_exist_is_said_and_an_edit_heals_it(site: PodSite) -> None:
    version = await site.pods.version()
    await pool(site, maxWorkers=3, kubernetes={"image": "localhost/no-such-image:1"})
    await site.commands("job", ["true"])
    obj = await site.until(WORKER_POOL, POOL, lambda s: condition(s, "Ready")[1] == "ImageUnavailable")
    assert "no-such-image" in message(obj["status"], "Ready")
    assert await site.pods.made_since(version, seconds=5) == 1
    site.edit(f"workerpool/{POOL}", '{"spec":{"kubernetes":{"image":null}}}')
    assert (await site.ended("job"))["phase"] == "Succeeded"


async def test_a_cancelled_task_ends_and_its_pod_goes(site: PodSite, witness: PodWitness) -> None:
    await pool(site)
    await site.commands("job", witness.gated("t0"))
    await witness.until_began("t0")
    site.edit("scanjob/job", '{"spec":{"cancel":true}}')
    assert (await site.ended("job"))["phase"] == "Cancelled"
    await until_nothing_is_left(site)


async def test_a_task_outlives_the_operator(site: PodSite, operator: OperatorProcess, witness: PodWitness) -> None:
    await pool(site)
    await site.commands("job", witness.gated("t0"), ["true"], parallelism=1)
    await witness.until_began("t0")
    operator.process.kill()
    operator.start()
    witness.open()
    assert counts(await site.ended("job")) == {"total": 2, "succeeded": 2}
    assert witness.times_begun("t0") == 1


async def test_everything_is_deleted_with_no_operator(
    site: PodSite, operator: OperatorProcess, witness: PodWitness
) -> None:
    await pool(site, drain={"graceSeconds": 0})
    await site.commands("job", witness.gated("t0"))
    await witness.until_began("t0")
    operator.process.kill()
    try:
        site.kubectl("delete", "workerpool", POOL)
        site.kubectl("delete", "scanjob", "job")
        await site.pods.pods(0)
        site.kubectl("wait", "--for=delete", "job", "--all", "--timeout=120s", timeout=150)
    finally:
        operator.start()
