"""Backend kubernetes on a real API server without a node: Pods, their owners, tokens and ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mahavishnu_operator.api.reasons import Label
from mahavishnu_operator.resources.protocol import WORKER_POOL
from mahavishnu_operator.worker.surroundings import clean_environment

from .operator_tools import (
    GATED,
    NOTE,
    POOL,
    OperatorProcess,
    Site,
    condition,
    counts,
    message,
    python,
    written,
)
from .pod_tools import IMAGE, Kubelet

TERMINATED = {"terminated": {"exitCode": 137, "reason": "OOMKilled", "signal": 9}}


async def pool(site: Site, **spec: Any) -> None:
    await site.pool(backend="kubernetes", **spec)


async def test_a_pool_has_as_many_pods_as_it_wants_in_a_restricted_namespace(kubelet: Kubelet, site: Site) -> None:
    await pool(site, replicas=2)
    for pod in await kubelet.pods(2):
        assert pod["metadata"]["labels"]["mahavishnu.dev/pool"] == POOL
        assert [owner["kind"] for owner in pod["metadata"]["ownerReferences"]] == ["WorkerPool"]
        assert pod["spec"]["automountServiceAccountToken"] is False


async def test_a_job_runs_in_a_pod(kubelet: Kubelet, site: Site) -> None:
    await pool(site)
    (pod,) = await kubelet.pods(1)
    await kubelet.run(pod)
    await site.ready(1)
    await site.commands("job", ["echo", "hello"], ["true"])
    status = await site.ended("job")
    assert (status["phase"], counts(status)) == ("Succeeded", {"total": 2, "succeeded": 2})


async def test_a_command_sees_the_variables_of_its_pool_and_no_others_of_its_container(
    kubelet: Kubelet, site: Site, pod_operator: OperatorProcess
) -> None:
    odd = ("--from-literal=PATH=/nowhere", "--from-literal=LD_PRELOAD=/nowhere.so", "--from-literal=of.tools=high")
    site.kubectl("create", "configmap", "given", "--from-literal=PLACE=hall", *odd)
    level = {"configMapKeyRef": {"name": "given", "key": "of.tools"}}
    greeting = {"name": "GREETING", "value": "$(PLACE) costs $$5"}
    template = {
        "env": [greeting, {"name": "LEVEL", "valueFrom": level}],
        "envFrom": [{"configMapRef": {"name": "given"}}],
    }
    await pool(site, kubernetes=template)
    (pod,) = await kubelet.pods(1)
    await kubelet.run(pod)
    job = await site.commands("job", ["env"])
    assert (await site.ended("job"))["phase"] == "Succeeded"
    seen = dict(line.split("=", 1) for line in pod_operator.output(job).splitlines())
    assert (seen["GREETING"], seen["LEVEL"], seen["PLACE"]) == ("$(PLACE) costs $$5", "high", "hall")
    assert "/nowhere" not in seen["PATH"]
    assert seen.keys() == {*clean_environment(Path("/any")), "GREETING", "LEVEL", "PLACE"}
    agent, _ = pod["spec"]["containers"]
    assert "MAHAVISHNU_TOOL" not in json.dumps(agent)
    assert "envFrom" not in agent


async def test_a_change_of_variables_replaces_idle_pods(kubelet: Kubelet, site: Site) -> None:
    await pool(site)
    (pod,) = await kubelet.pods(1)
    await kubelet.run(pod)
    await site.ready(1)
    variable = {"name": "GREETING", "value": "hello"}
    patch = {"spec": {"kubernetes": {"env": [variable]}}}
    site.kubectl("patch", "wp", POOL, "--type=merge", "-p", json.dumps(patch))
    await kubelet.pods(1, where=lambda p: "hello" in json.dumps(p["spec"]["containers"][1].get("env")))


async def test_a_pool_that_no_node_takes_says_so_and_makes_no_more_pods(kubelet: Kubelet, site: Site) -> None:
    await pool(site, replicas=2)
    obj = await site.until(WORKER_POOL, POOL, lambda s: condition(s, "Unschedulable")[0] == "True")
    assert "nodes" in message(obj["status"], "Unschedulable")
    assert condition(obj["status"], "Ready") == ("False", "Unschedulable")
    assert obj["status"]["ready"] == 0
    assert len(await kubelet.pods(2)) == 2


async def test_a_pod_whose_image_cannot_be_pulled_is_kept_and_explained(kubelet: Kubelet, site: Site) -> None:
    await pool(site)
    (pod,) = await kubelet.pods(1)
    waiting = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "no.such/image"'}
    await kubelet.report(pod, "Pending", {"waiting": waiting})
    obj = await site.until(WORKER_POOL, POOL, lambda s: condition(s, "Ready")[1] == "ImageUnavailable")
    assert "no.such/image" in message(obj["status"], "Ready")
    assert [p["metadata"]["name"] for p in await kubelet.pods(1)] == [pod["metadata"]["name"]]


async def test_a_pod_that_failed_is_replaced_and_its_task_runs_again(
    kubelet: Kubelet, site: Site, tmp_path: Path
) -> None:
    await pool(site)
    (pod,) = await kubelet.pods(1)
    agent, _ = await kubelet.run(pod)
    await site.ready(1)
    await site.commands("job", python(GATED, tmp_path / "began", tmp_path / "gate"))
    await written(tmp_path / "began")
    agent.kill()
    await kubelet.report(pod, "Failed", TERMINATED)
    name = pod["metadata"]["name"]
    (successor,) = await kubelet.pods(1, where=lambda p: p["metadata"]["name"] != name)
    (tmp_path / "gate").touch()
    await kubelet.run(successor)
    assert counts(await site.ended("job")) == {"total": 1, "succeeded": 1, "retried": 1}


async def test_a_busy_pod_is_not_evicted_and_an_idle_one_is(kubelet: Kubelet, site: Site, tmp_path: Path) -> None:
    await pool(site)
    (pod,) = await kubelet.pods(1)
    await kubelet.run(pod)
    await site.commands("job", python(GATED, tmp_path / "began", tmp_path / "gate"))
    await written(tmp_path / "began")
    (busy,) = await kubelet.pods(1, where=lambda p: p["metadata"]["labels"].get("mahavishnu.dev/busy") == "true")
    assert busy["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    assert "disruption budget" in kubelet.evict(pod)
    (tmp_path / "gate").touch()
    await site.ended("job")
    (idle,) = await kubelet.pods(1, where=lambda p: "mahavishnu.dev/busy" not in p["metadata"]["labels"])
    assert "cluster-autoscaler.kubernetes.io/safe-to-evict" not in idle["metadata"]["annotations"]
    assert kubelet.evict(pod) == ""


async def test_a_label_that_somebody_took_off_a_busy_pod_is_set_again(
    kubelet: Kubelet, site: Site, tmp_path: Path
) -> None:
    await pool(site)
    (pod,) = await kubelet.pods(1)
    await kubelet.run(pod)
    await site.commands("job", python(GATED, tmp_path / "began", tmp_path / "gate"))
    await written(tmp_path / "began")
    site.kubectl("label", "pod", pod["metadata"]["name"], f"{Label.BUSY}-")
    await kubelet.pods(1, where=lambda p: p["metadata"]["labels"].get(Label.BUSY) == "true")
    (tmp_path / "gate").touch()
    await site.ended("job")


async def test_a_worker_on_a_cordoned_node_is_leased_nothing(kubelet: Kubelet, site: Site, tmp_path: Path) -> None:
    await pool(site)
    (pod,) = await kubelet.pods(1)
    kubelet.bind(pod, node=site.namespace)
    await kubelet.run(pod)
    await site.until(WORKER_POOL, POOL, lambda s: s.get("ready") == 1)  # and no node takes another in its place
    await site.commands("job", python(NOTE, tmp_path / "ran"))
    await site.commands("other", ["true"], queueTimeoutSeconds=1)
    assert condition(await site.ended("other"), "Failed") == ("True", "QueueTimedOut")
    assert not (tmp_path / "ran").exists()
    site.kubectl("uncordon", site.namespace)
    assert (await site.ended("job"))["phase"] == "Succeeded"
    site.kubectl("delete", "node", site.namespace)


async def test_a_worker_on_a_cordoned_node_is_replaced(kubelet: Kubelet, site: Site) -> None:
    await pool(site)
    (pod,) = await kubelet.pods(1)
    kubelet.bind(pod, node=site.namespace)
    await kubelet.run(pod)
    (new,) = await kubelet.pods(1, where=lambda p: p["metadata"]["name"] != pod["metadata"]["name"])
    await kubelet.run(new)
    await kubelet.pods(0, where=lambda p: p["metadata"]["name"] == pod["metadata"]["name"])
    await site.ready(1)
    site.kubectl("delete", "node", site.namespace)


async def test_a_pool_has_a_network_policy_unless_somebody_else_writes_it(kubelet: Kubelet, site: Site) -> None:
    await pool(site)
    await kubelet.pods(1)
    policy = json.loads(site.kubectl("get", "networkpolicy", f"mahavishnu-{POOL}", "-o", "json"))
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy["spec"]
    site.kubectl("patch", "wp", POOL, "--type=merge", "-p", '{"spec":{"kubernetes":{"networkPolicy":"Unmanaged"}}}')
    site.kubectl("wait", "--for=delete", f"networkpolicy/mahavishnu-{POOL}", "--timeout=60s")


async def test_a_template_edit_replaces_idle_pods(kubelet: Kubelet, site: Site) -> None:
    await pool(site)
    (pod,) = await kubelet.pods(1)
    await kubelet.run(pod)
    await site.ready(1)
    site.kubectl("patch", "wp", POOL, "--type=merge", "-p", '{"spec":{"kubernetes":{"image":"other.invalid/image:1"}}}')
    (successor,) = await kubelet.pods(1, where=lambda p: p["spec"]["containers"][1]["image"] == "other.invalid/image:1")
    assert successor["spec"]["containers"][0]["image"] == IMAGE


async def test_a_token_for_another_audience_is_refused(kubelet: Kubelet, site: Site) -> None:
    await pool(site)
    (pod,) = await kubelet.pods(1)
    agent, _ = await kubelet.run(pod, token=kubelet.token(pod, audience="https://kubernetes.default.svc"))
    assert await agent.wait() == 4


async def test_a_token_of_another_pod_is_refused(kubelet: Kubelet, site: Site) -> None:
    await pool(site, replicas=2)
    one, other = await kubelet.pods(2)
    agent, _ = await kubelet.run(one, token=kubelet.token(other))
    assert await agent.wait() == 4


async def test_a_token_of_a_deleted_pod_is_refused(kubelet: Kubelet, site: Site) -> None:
    await pool(site)
    (pod,) = await kubelet.pods(1)
    token = kubelet.token(pod)
    site.kubectl("delete", "wp", POOL)
    await kubelet.pods(0)
    agent, _ = await kubelet.start(pod, token=token)
    assert await agent.wait() == 4


async def test_a_pod_that_claims_a_pool_by_its_labels_alone_is_refused(kubelet: Kubelet, site: Site) -> None:
    await pool(site)
    (pod,) = await kubelet.pods(1)
    forged = await kubelet.forge(pod, name="forged")
    agent, _ = await kubelet.run(forged)
    assert await agent.wait() == 4


async def test_a_restarted_operator_adopts_the_pods_that_are_there(
    pod_operator: OperatorProcess, kubelet: Kubelet, site: Site
) -> None:
    await pool(site, replicas=2)
    before = {pod["metadata"]["uid"] for pod in await kubelet.pods(2)}
    pod_operator.process.kill()
    pod_operator.start()
    await site.pool("later", backend="kubernetes")
    after = {pod["metadata"]["uid"] for pod in await kubelet.pods(3)}
    assert before < after


async def test_deleting_a_pool_deletes_its_pods_with_no_operator(
    pod_operator: OperatorProcess, kubelet: Kubelet, site: Site
) -> None:
    await pool(site, replicas=2)
    await kubelet.pods(2)
    pod_operator.process.kill()
    try:
        site.kubectl("delete", "wp", POOL)
        await kubelet.pods(0)
    finally:
        pod_operator.start()


async def test_a_path_is_refused_because_pods_do_not_see_it(kubelet: Kubelet, site: Site, tmp_path: Path) -> None:
    await pool(site)
    await site.scan("job", tmp_path, "ruff")
    status = await site.ended("job")
    assert condition(status, "Accepted") == ("False", "PathNotAllowed")
    assert "cannot see it" in message(status, "Accepted")
