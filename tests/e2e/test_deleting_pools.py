"""Jobs, pools and namespaces deleted in every order, with the operator and without: it completes, nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from mahavishnu_operator.backends.kubernetes.guards import BUDGET, NETWORK_POLICY
from mahavishnu_operator.backends.kubernetes.settings import POD
from mahavishnu_operator.resources.protocol import SCAN_JOB, WORKER_POOL, Obj
from tests.chaos.processes import is_alive
from tests.integration.operator_tools import POOL, OperatorProcess, counts, poll

from .node_processes import processes_of
from .operating import NODE_DEADLINE, PodSite
from .telling import PodWitness

ORDERS = [("scanjob/job", f"workerpool/{POOL}"), (f"workerpool/{POOL}", "scanjob/job"), ("namespace",)]


async def busy_pool(site: PodSite, witness: PodWitness) -> list[Obj]:
    """The Pods of a pool of two, one of which runs a task that does not end."""
    await site.pool(replicas=2)
    await site.ready(2)
    await site.commands("job", witness.gated("t0"))
    await witness.until_began("t0")
    return await site.pods.pods(2)


async def delete(site: PodSite, order: Sequence[str]) -> None:
    """As a person does, who waits until each has gone."""
    for what in order:
        name = (site.namespace,) if what == "namespace" else ()
        site.kubectl("delete", what, *name, f"--timeout={NODE_DEADLINE:g}s", timeout=NODE_DEADLINE + 60)


async def until_nothing_is_left(site: PodSite, pods: list[Obj]) -> None:
    for kind in (POD, BUDGET, NETWORK_POLICY, WORKER_POOL, SCAN_JOB):
        async with asyncio.timeout(NODE_DEADLINE):
            while (await site.resources.list(kind, namespace=site.namespace)).items:  # noqa: ASYNC110 -- five kinds
                await asyncio.sleep(0.1)  # each look is a call to the API server
    await poll(lambda: not any(map(is_alive, processes_of(*pods))), NODE_DEADLINE)


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: " then ".join(order))
async def test_deleting_completes_and_leaves_nothing(
    order: Sequence[str], operator: OperatorProcess, site: PodSite, witness: PodWitness
) -> None:
    pods = await busy_pool(site, witness)
    await delete(site, order)
    await until_nothing_is_left(site, pods)
    lines = operator.get("/metrics").decode().splitlines()
    held = [line for line in lines if line.startswith("mahavishnu_dispatch_running_tasks{") and site.namespace in line]
    assert all(line.endswith(" 0.0") for line in held), held


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: " then ".join(order))
async def test_deleting_completes_with_the_operator_gone_and_nothing_comes_back_with_it(
    order: Sequence[str], operator: OperatorProcess, site: PodSite, witness: PodWitness
) -> None:
    pods = await busy_pool(site, witness)
    operator.process.kill()
    try:
        await delete(site, order)
        await until_nothing_is_left(site, pods)
    finally:
        operator.start()
    await until_nothing_is_left(site, pods)


async def test_deleting_a_job_frees_its_worker_and_leaves_the_pool(
    operator: OperatorProcess, site: PodSite, witness: PodWitness
) -> None:
    await busy_pool(site, witness)
    site.kubectl("delete", "scanjob", "job")
    await site.until(WORKER_POOL, POOL, lambda s: (s["idle"], s["busy"]) == (2, 0))
    await site.commands("next", ["true"])
    assert (await site.ended("next"))["phase"] == "Succeeded"


async def test_a_pool_that_is_made_again_under_its_name_gets_workers_of_its_own(
    operator: OperatorProcess, site: PodSite, witness: PodWitness
) -> None:
    before = {pod["metadata"]["uid"] for pod in await busy_pool(site, witness)}
    operator.process.kill()
    try:
        site.kubectl("delete", f"workerpool/{POOL}")
        await site.pool(replicas=2)
    finally:
        operator.start()
    after = {
        pod["metadata"]["uid"] for pod in await site.pods.pods(2, where=lambda p: p["metadata"]["uid"] not in before)
    }
    assert not after & before
    witness.open("t0")
    assert counts(await site.ended("job"))["succeeded"] == 1
