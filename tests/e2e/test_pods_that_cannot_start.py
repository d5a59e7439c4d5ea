"""Pods that no node takes, whose image is not there, or that a quota refuses: said in words, no capacity, no churn."""

from __future__ import annotations

import json

import pytest

from mahavishnu_operator.resources.protocol import WORKER_POOL
from tests.integration.operator_tools import POOL, condition, counts, message

from .operating import SMALL, PodSite

pytestmark = pytest.mark.usefixtures("operator")

NO_IMAGE = "localhost:1/nothing/there:1"  # nobody listens there
HUGE = {"requests": {"memory": "4Ti"}, "limits": {"memory": "4Ti"}}
LIMITS = {
    "apiVersion": "v1",
    "kind": "LimitRange",
    "metadata": {"name": "small"},
    "spec": {"limits": [{"type": "Container", "max": {"memory": "128Mi"}}]},
}
A_WHILE = 12.0  # several times the first waits of every back-off


async def test_a_pool_whose_image_does_not_exist_says_so_until_it_is_corrected(site: PodSite) -> None:
    version = await site.pods.version()
    await site.pool(replicas=2, kubernetes={"image": NO_IMAGE})
    await site.commands("job", ["true"])
    pool = await site.until(WORKER_POOL, POOL, lambda s: condition(s, "Ready")[1] == "ImageUnavailable")
    assert NO_IMAGE in message(pool["status"], "Ready")
    assert await site.pods.made_since(version, seconds=A_WHILE) == 2
    assert (await site.resources.get(WORKER_POOL, site.key(POOL)))["status"]["ready"] == 0
    assert counts((await site.job("job"))["status"]) == {"total": 1, "queued": 1}

    site.edit(f"workerpool/{POOL}", '{"spec":{"kubernetes":{"image":null}}}')
    await site.ready(2)
    assert (await site.ended("job"))["phase"] == "Succeeded"
    assert await site.pods.made_since(version) == 4


async def test_a_pod_that_is_too_large_for_the_node_is_explained_by_the_scheduler(site: PodSite) -> None:
    version = await site.pods.version()
    await site.pool(replicas=2, kubernetes={"resources": HUGE})
    await site.commands("job", ["true"])
    pool = await site.until(WORKER_POOL, POOL, lambda s: condition(s, "Unschedulable")[0] == "True")
    assert "Insufficient memory" in message(pool["status"], "Unschedulable")
    assert condition(pool["status"], "Ready") == ("False", "Unschedulable")
    assert await site.pods.made_since(version, seconds=A_WHILE) == 2
    assert (await site.resources.get(WORKER_POOL, site.key(POOL)))["status"]["ready"] == 0
    assert counts((await site.job("job"))["status"]) == {"total": 1, "queued": 1}

    site.edit(f"workerpool/{POOL}", f'{{"spec":{{"kubernetes":{{"resources":{json.dumps(SMALL)}}}}}}}')
    await site.ready(2)
    assert (await site.ended("job"))["phase"] == "Succeeded"
    assert await site.pods.made_since(version) == 4


async def test_a_quota_that_refuses_pods_is_named_and_the_pods_that_fit_work(site: PodSite) -> None:
    site.kubectl("create", "quota", "few", "--hard=pods=1")
    await site.pool(replicas=2)
    pool = await site.until(WORKER_POOL, POOL, lambda s: condition(s, "BackendReachable")[0] == "False")
    assert "exceeded quota: few" in message(pool["status"], "BackendReachable")
    await site.commands("job", ["true"])
    assert (await site.ended("job"))["phase"] == "Succeeded"

    site.kubectl("delete", "quota", "few")
    await site.ready(2)


async def test_a_template_that_the_namespace_refuses_is_named(site: PodSite) -> None:
    site.kubectl("create", "-f", "-", input=json.dumps(LIMITS))
    await site.pool(kubernetes={"resources": SMALL})
    pool = await site.until(WORKER_POOL, POOL, lambda s: condition(s, "BackendReachable")[0] == "False")
    assert "maximum memory usage per Container is 128Mi" in message(pool["status"], "BackendReachable")


async def test_the_default_template_starts_in_a_restricted_namespace(site: PodSite) -> None:
    await site.pool(kubernetes={"resources": None})
    await site.ready(1)
