"""Isolation PerTask on a real API server without a node: its Job controller makes the Pods, a test is the kubelet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mahavishnu_operator.backends.kubernetes.settings import JOB
from mahavishnu_operator.resources.protocol import WORKER_POOL, Obj

from .operator_tools import (
    GATED,
    POOL,
    OperatorProcess,
    Site,
    condition,
    counts,
    message,
    poll,
    python,
    written,
)
from .pod_tools import Kubelet

OUT_OF_MEMORY = {"terminated": {"exitCode": 137, "reason": "OOMKilled", "signal": 9}}
RUNNING: dict[str, Any] = {"running": {}}
DONE = {"terminated": {"exitCode": 0, "reason": "Completed"}}


async def pool(site: Site, **spec: Any) -> Obj:
    return await site.pool(backend="kubernetes", isolation="PerTask", **spec)


async def jobs(site: Site) -> list[Obj]:
    return list((await site.resources.list(JOB, namespace=site.namespace)).items)


async def until_no_job(site: Site) -> None:
    """Return once no Job is there."""
    await site.until(WORKER_POOL, POOL, lambda s: s.get("replicas") == 0 and s.get("runningTasks") == 0)
    assert await jobs(site) == []


async def test_without_a_task_there_is_no_pod_and_the_pool_is_ready(kubelet: Kubelet, site: Site) -> None:
    await pool(site)
    obj = await site.until(WORKER_POOL, POOL, lambda s: condition(s, "Ready")[0] == "True")
    assert condition(obj["status"], "Ready") == ("True", "PodPerTask")
    assert await kubelet.pods(0) == []


async def test_a_task_gets_a_pod_of_its_own_by_a_job_that_the_pool_owns(kubelet: Kubelet, site: Site) -> None:
    made = await pool(site)
    await site.commands("job", ["echo", "hello"])
    (pod,) = await kubelet.pods(1)
    (job,) = await jobs(site)
    assert job["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    assert pod["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
    assert pod["metadata"]["labels"]["mahavishnu.dev/busy"] == "true"
    assert [c for c in job["metadata"].get("finalizers", []) if "mahavishnu" in c] == []

    agent, runner = await kubelet.run(pod)
    assert counts(await site.ended("job")) == {"total": 1, "succeeded": 1}
    assert (await agent.wait(), await runner.wait()) == (0, 0)
    await kubelet.report(pod, "Succeeded", DONE)
    await until_no_job(site)


async def test_the_job_ends_before_its_pod_has_been_reported_to_have(kubelet: Kubelet, site: Site) -> None:
    await pool(site)
    await site.commands("job", ["true"])
    (pod,) = await kubelet.pods(1)
    await kubelet.run(pod)
    assert (await site.ended("job"))["phase"] == "Succeeded"
    (still,) = await kubelet.pods(1)
    assert still["status"]["phase"] == "Running"


async def test_there_are_as_many_pods_as_tasks_and_never_more_than_max_workers(kubelet: Kubelet, site: Site) -> None:
    await pool(site, maxWorkers=3)
    await site.commands("job", *[["true"]] * 5)
    seen: set[str] = set()
    while len(seen) < 5:
        pods = [p for p in await kubelet.pods(min(3, 5 - len(seen))) if p["metadata"]["name"] not in seen]
        assert len(await jobs(site)) <= 3
        for pod in pods:
            seen.add(pod["metadata"]["name"])
            agent, runner = await kubelet.run(pod)
            assert (await agent.wait(), await runner.wait()) == (0, 0)
            await kubelet.report(pod, "Succeeded", DONE)
    assert counts(await site.ended("job")) == {"total": 5, "succeeded": 5}
    await until_no_job(site)
    assert len(seen) == 5


async def test_parallelism_bounds_the_pods(kubelet: Kubelet, site: Site) -> None:
    version = await kubelet.version()
    await pool(site)
    await site.commands("job", *[["true"]] * 3, parallelism=1)
    (pod,) = await kubelet.pods(1)
    assert await kubelet.made_since(version) == 1
    await kubelet.run(pod)
    await kubelet.pods(1, where=lambda p: p["metadata"]["name"] != pod["metadata"]["name"])


async def test_a_suspended_job_takes_its_pods_back_and_a_resumed_one_gets_new_ones(
    kubelet: Kubelet, site: Site
) -> None:
    await pool(site)
    await site.commands("job", ["true"], ["true"])
    before = {pod["metadata"]["uid"] for pod in await kubelet.pods(2)}
    site.kubectl("patch", "sj", "job", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    await kubelet.pods(0)
    site.kubectl("patch", "sj", "job", "--type=merge", "-p", '{"spec":{"suspend":false}}')
    assert not before & {pod["metadata"]["uid"] for pod in await kubelet.pods(2)}


async def test_a_pool_that_is_suspended_lets_the_busy_finish(kubelet: Kubelet, site: Site, tmp_path: Path) -> None:
    await pool(site, maxWorkers=1)
    await site.commands("job", python(GATED, tmp_path / "began", tmp_path / "gate"), ["true"])
    (pod,) = await kubelet.pods(1)
    agent, _ = await kubelet.run(pod)
    await written(tmp_path / "began")
    site.kubectl("patch", "wp", POOL, "--type=merge", "-p", '{"spec":{"suspend":true}}')
    await site.until(WORKER_POOL, POOL, lambda s: condition(s, "Ready")[1] == "PoolSuspended")
    (tmp_path / "gate").touch()
    assert await agent.wait() == 0
    await kubelet.report(pod, "Succeeded", DONE)
    await until_no_job(site)
    status = (await site.job("job"))["status"]
    assert status["phase"] == "Running"


async def test_a_cancelled_job_ends_and_its_pods_go(kubelet: Kubelet, site: Site, tmp_path: Path) -> None:
    await pool(site)
    await site.commands("job", python(GATED, tmp_path / "began", tmp_path / "never"), ["true"], parallelism=1)
    (pod,) = await kubelet.pods(1)
    agent, _ = await kubelet.run(pod)
    await written(tmp_path / "began")
    site.kubectl("patch", "sj", "job", "--type=merge", "-p", '{"spec":{"cancel":true}}')
    status = await site.ended("job")
    assert (status["phase"], counts(status)) == ("Cancelled", {"total": 2, "cancelled": 2})
    assert await agent.wait() == 0
    await kubelet.report(pod, "Succeeded", DONE)
    await until_no_job(site)


async def test_a_tool_that_runs_out_of_memory_uses_up_a_try_and_is_told_so(
    kubelet: Kubelet, site: Site, tmp_path: Path
) -> None:
    await pool(site)
    job = await site.commands("job", python(GATED, tmp_path / "began", tmp_path / "never"), maxAttempts=1)
    (pod,) = await kubelet.pods(1)
    _, runner = await kubelet.run(pod)
    await written(tmp_path / "began")
    runner.kill()
    await kubelet.report(pod, "Running", OUT_OF_MEMORY)
    status = await site.ended("job")
    assert counts(status) == {"total": 1, "failed": 1}
    assert "OOMKilled" in json.dumps(status["results"])
    await site.until_event(job, "Warning", "Failed")
    obj = await site.resources.get(WORKER_POOL, site.key(POOL))
    assert condition(obj["status"], "Ready")[0] == "True"


async def test_a_pod_that_is_evicted_in_mid_task_costs_the_task_no_try(
    kubelet: Kubelet, site: Site, tmp_path: Path
) -> None:
    await pool(site)
    await site.commands("job", python(GATED, tmp_path / "began", tmp_path / "gate"), maxAttempts=1)
    (pod,) = await kubelet.pods(1)
    for process in await kubelet.run(pod):
        await written(tmp_path / "began")
        process.kill()
    key = pod["metadata"]["name"]
    status = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
    site.kubectl("patch", "pod", key, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
    (successor,) = await kubelet.pods(1, where=lambda p: p["metadata"]["name"] != key)
    (tmp_path / "gate").touch()
    await kubelet.run(successor)
    assert counts(await site.ended("job")) == {"total": 1, "succeeded": 1, "retried": 1}


async def test_a_pod_that_dies_before_it_had_a_task_charges_none(kubelet: Kubelet, site: Site) -> None:
    await pool(site)
    await site.commands("job", ["true"], maxAttempts=1)
    (pod,) = await kubelet.pods(1)
    await kubelet.report(pod, "Failed", OUT_OF_MEMORY)
    (successor,) = await kubelet.pods(1, where=lambda p: p["metadata"]["name"] != pod["metadata"]["name"])
    await kubelet.run(successor)
    assert counts(await site.ended("job")) == {"total": 1, "succeeded": 1}


async def test_an_image_that_cannot_be_pulled_is_said_and_makes_no_more_pods(kubelet: Kubelet, site: Site) -> None:
    version = await kubelet.version()
    await pool(site, maxWorkers=1)
    await site.commands("job", ["true"], ["true"])
    (pod,) = await kubelet.pods(1)
    waiting = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "no.such/image"'}
    await kubelet.report(pod, "Pending", {"waiting": waiting})
    obj = await site.until(WORKER_POOL, POOL, lambda s: condition(s, "Ready")[1] == "ImageUnavailable")
    assert "no.such/image" in message(obj["status"], "Ready")
    assert await kubelet.made_since(version) == 1
    site.kubectl("patch", "wp", POOL, "--type=merge", "-p", '{"spec":{"kubernetes":{"image":"other.invalid/image:1"}}}')
    (successor,) = await kubelet.pods(1, where=lambda p: p["spec"]["containers"][1]["image"] == "other.invalid/image:1")
    assert successor["metadata"]["uid"] != pod["metadata"]["uid"]


async def test_a_busy_pod_is_not_evicted(kubelet: Kubelet, site: Site, tmp_path: Path) -> None:
    await pool(site)
    await site.commands("job", python(GATED, tmp_path / "began", tmp_path / "gate"))
    (pod,) = await kubelet.pods(1)
    await kubelet.run(pod)
    await written(tmp_path / "began")
    assert "disruption budget" in kubelet.evict(pod)
    (tmp_path / "gate").touch()
    assert (await site.ended("job"))["phase"] == "Succeeded"


async def test_a_pod_of_a_job_that_no_pool_owns_is_refused(kubelet: Kubelet, site: Site) -> None:
    await pool(site)
    await site.commands("job", ["true"])
    (pod,) = await kubelet.pods(1)
    (job,) = await jobs(site)
    template = {key: value for key, value in job["spec"].items() if key not in ("selector", "suspend")}
    template["template"]["metadata"]["labels"] = job["metadata"]["labels"]
    meta = {"name": "forged", "namespace": site.namespace, "labels": job["metadata"]["labels"]}
    made = await site.resources.create(
        JOB, {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": template}
    )
    uid = made["metadata"]["uid"]
    (forged,) = await kubelet.pods(1, where=lambda p: p["metadata"]["ownerReferences"][0]["uid"] == uid)
    agent, _ = await kubelet.run(forged)
    assert await agent.wait() == 4
    assert pod["metadata"]["uid"] != forged["metadata"]["uid"]


async def test_a_restarted_operator_goes_on_with_the_pods_that_are_there(
    pod_operator: OperatorProcess, kubelet: Kubelet, site: Site, tmp_path: Path
) -> None:
    await pool(site)
    await site.commands("job", python(GATED, tmp_path / "began", tmp_path / "gate"), ["true"])
    first, second = await kubelet.pods(2)
    await kubelet.run(first)
    await poll(lambda: (tmp_path / "began").exists() or kubelet.processes[first["metadata"]["name"]][0].returncode == 0)
    pod_operator.process.kill()
    pod_operator.start()
    await kubelet.run(second)
    await written(tmp_path / "began")
    (tmp_path / "gate").touch()
    assert counts(await site.ended("job")) == {"total": 2, "succeeded": 2}


async def test_deleting_a_pool_deletes_its_jobs_and_pods_with_no_operator(
    pod_operator: OperatorProcess, kubelet: Kubelet, site: Site
) -> None:
    await pool(site)
    await site.commands("job", ["true"], ["true"])
    await kubelet.pods(2)
    pod_operator.process.kill()
    try:
        site.kubectl("delete", "wp", POOL)
        await kubelet.pods(0)
        assert await jobs(site) == []
    finally:
        pod_operator.start()


async def test_a_number_of_workers_is_refused_because_it_has_no_meaning(kubelet: Kubelet, site: Site) -> None:
    await pool(site)
    asked = site.cluster.kubectl("scale", "wp", POOL, "--replicas=3", "-n", site.namespace, check=False)
    assert "workers come and go with the tasks" in asked.stderr
