"""A pool of warm Pods on a real node: up, down, jobs in them, a change of their template, what stands around them."""

from __future__ import annotations

import json
import socket
import time

import pytest

from mahavishnu_operator.api.reasons import Label
from mahavishnu_operator.resources.protocol import WORKER_POOL, Obj
from tests.integration.operator_tools import POOL, OperatorProcess, condition, counts, message

from .operating import PodSite, python_task
from .telling import PodWitness

pytestmark = pytest.mark.usefixtures("operator")

WHERE = """
import os, socket
print(socket.gethostname(), os.getuid(), os.getcwd(), os.environ["GREETING"], os.environ["PLACE"])
"""


async def test_kubectl_scale_makes_three_workers_of_none_and_none_of_three(site: PodSite) -> None:
    await site.pool(replicas=0)
    await site.ready(0)
    for wanted in (3, 0):
        began = time.monotonic()
        site.scale(wanted)
        await site.ready(wanted)
        await site.pods.pods(wanted)
        print(f"scaled to {wanted} in {time.monotonic() - began:.1f} s")


async def test_a_job_of_commands_runs_in_the_pods_of_its_pool(site: PodSite, operator: OperatorProcess) -> None:
    site.kubectl("create", "configmap", "given", "--from-literal=PLACE=hall", "--from-literal=LD_PRELOAD=/nowhere.so")
    greeting = {"name": "GREETING", "value": "$(HOSTNAME)$$5"}
    await site.pool(kubernetes={"env": [greeting], "envFrom": [{"configMapRef": {"name": "given"}}]})
    (pod,) = await site.pods.pods(1)
    job = await site.commands("job", python_task(WHERE), ["true"])
    status = await site.ended("job")
    assert (status["phase"], counts(status)) == ("Succeeded", {"total": 2, "succeeded": 2}), status
    host, uid, folder, *given = operator.output(job).split()
    assert (host, uid) == (pod["metadata"]["name"], "65532")
    assert host != socket.gethostname()
    assert folder.startswith("/workspace/")
    assert given == ["$(HOSTNAME)$$5", "hall"]


async def test_just_as_many_pods_are_made_as_are_wanted(site: PodSite) -> None:
    version = await site.pods.version()
    await site.pool(replicas=3)
    await site.ready(3)
    assert await site.pods.made_since(version) == 3


async def test_a_scale_to_none_waits_for_the_busy_worker(site: PodSite, witness: PodWitness) -> None:
    await site.pool(replicas=2)
    await site.ready(2)
    await site.commands("job", witness.gated("t0"))
    await witness.until_began("t0")
    (busy,) = await site.pods.pods(1, where=is_busy)
    site.scale(0)
    pool = await site.until(WORKER_POOL, POOL, lambda s: condition(s, "ScaleDownBlocked")[0] == "True")
    assert name(busy) in message(pool["status"], "ScaleDownBlocked")
    assert [name(pod) for pod in await site.pods.pods(1)] == [name(busy)]
    witness.open("t0")
    assert counts(await site.ended("job")) == {"total": 1, "succeeded": 1}
    await site.pods.pods(0)
    assert witness.times_begun("t0") == 1


async def test_scaling_up_and_down_under_load_costs_no_task_a_try(site: PodSite, witness: PodWitness) -> None:
    await site.pool(replicas=1)
    tasks = [f"t{number}" for number in range(16)]
    await site.commands("job", *(witness.command(task, seconds=0.5) for task in tasks))
    for replicas, begun in ((3, "t1"), (1, "t5"), (3, "t8"), (1, "t12")):
        await witness.until_began(begun)
        site.scale(replicas)
    assert counts(await site.ended("job")) == {"total": 16, "succeeded": 16}
    assert all(witness.times_begun(task) == 1 for task in tasks)


async def test_a_running_task_outlives_the_operator(
    site: PodSite, operator: OperatorProcess, witness: PodWitness
) -> None:
    await site.pool()
    await site.commands("job", witness.gated("t0"))
    await witness.until_began("t0")
    (pod,) = await site.pods.pods(1)
    operator.process.kill()
    operator.start()
    witness.open("t0")
    assert counts(await site.ended("job")) == {"total": 1, "succeeded": 1}
    assert [name(each) for each in await site.pods.pods(1)] == [name(pod)]
    assert witness.times_begun("t0") == 1


async def test_a_template_change_rolls_idle_workers_and_lets_busy_ones_finish(
    site: PodSite, witness: PodWitness
) -> None:
    await site.pool(replicas=4)
    await site.ready(4)
    await site.commands("job", witness.gated("t0"), witness.gated("t1"))
    await witness.until_began("t0", "t1")
    busy = {name(pod) for pod in await site.pods.pods(2, where=is_busy)}
    site.edit(f"workerpool/{POOL}", '{"spec":{"kubernetes":{"resources":{"requests":{"cpu":"20m"}}}}}')
    await site.pods.pods(3, where=is_new)  # two for the idle ones, one ahead of the first busy one
    left = {name(pod) for pod in await site.pods.pods(2, where=lambda pod: not is_new(pod))}
    assert left == busy

    witness.open()
    assert counts(await site.ended("job")) == {"total": 2, "succeeded": 2}
    await site.pods.pods(4, where=is_new)
    await site.ready(4)
    assert (witness.times_begun("t0"), witness.times_begun("t1")) == (1, 1)


async def test_a_budget_protects_the_busy_pods_of_a_pool_and_no_others(site: PodSite, witness: PodWitness) -> None:
    await site.pool(replicas=2)
    await site.ready(2)
    await site.commands("job", witness.gated("t0"))
    await witness.until_began("t0")
    (busy,) = await site.pods.pods(1, where=is_busy)
    (idle,) = await site.pods.pods(1, where=lambda pod: not is_busy(pod))
    budget = json.loads(site.kubectl("get", "pdb", f"mahavishnu-{POOL}", "-o", "json"))
    assert [owner["kind"] for owner in budget["metadata"]["ownerReferences"]] == ["WorkerPool"]
    assert budget["spec"] == {
        "minAvailable": 2147483647,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": {"mahavishnu.dev/pool": POOL, "mahavishnu.dev/busy": "true"}},
    }
    assert "disruption budget" in site.pods.evict(busy)
    assert site.pods.evict(idle) == ""
    annotations = busy["metadata"]["annotations"]
    assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    assert annotations["karpenter.sh/do-not-disrupt"] == "true"


async def test_a_network_policy_selects_the_workers_and_lets_them_reach_dns_and_operators(site: PodSite) -> None:
    await site.pool()
    (pod,) = await site.pods.pods(1)
    policy = json.loads(site.kubectl("get", "networkpolicy", f"mahavishnu-{POOL}", "-o", "json"))
    assert [owner["kind"] for owner in policy["metadata"]["ownerReferences"]] == ["WorkerPool"]
    selected = policy["spec"]["podSelector"]["matchLabels"]
    assert selected.items() <= pod["metadata"]["labels"].items()
    dns, operators = policy["spec"]["egress"]
    assert {(port["port"], port["protocol"]) for port in dns["ports"]} == {(53, "UDP"), (53, "TCP")}
    (peer,) = operators["to"]
    assert peer["podSelector"]["matchLabels"] == {"app.kubernetes.io/component": "operator"}
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy["spec"]


def name(pod: Obj) -> str:
    return str(pod["metadata"]["name"])


def is_busy(pod: Obj) -> bool:
    return bool(pod["metadata"]["labels"].get(Label.BUSY) == "true")


def is_new(pod: Obj) -> bool:
    return bool(pod["spec"]["containers"][1]["resources"]["requests"]["cpu"] == "20m")
