"""A fresh Pod a task (isolation PerTask) next to `kubectl create job` of the same image, for one task and for fifty.

Both run `true`, on one node, in turns; from the request to the end seen by a watcher: of the ScanJob, or of every Job.
"""

from __future__ import annotations

import asyncio
import json
import time
from statistics import median
from typing import Any

from benchmarks.figures import print_line
from benchmarks.scanjobs import POOL, manifest
from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from mahavishnu_operator.resources.protocol import SCAN_JOB, WORKER_POOL, Key
from tests.cluster.client import Cluster
from tests.e2e.operating import SMALL, pod_operator

from .real_node import real_node

COUNTS = {1: 5, 50: 2}  # tasks, and in how many turns
NAMESPACE = "pertask"
LIMIT_SECONDS = 300
CONFINED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def bare_job(name: str, image: str) -> dict[str, Any]:
    """What `kubectl create job` makes, with the bounds that our Pods have."""
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["true"],
        "resources": SMALL,
        "securityContext": CONFINED,
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": {"bench": name.rpartition("-")[0]}},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }


def run_bare(cluster: Cluster, image: str, *, turn: int, count: int) -> float:
    """Seconds until that many Jobs are Complete."""
    label = f"bare-{count}-{turn}"
    jobs = [bare_job(f"{label}-{number}", image) for number in range(count)]
    everything = json.dumps({"apiVersion": "v1", "kind": "List", "items": jobs})
    begun = time.perf_counter()
    cluster.kubectl("create", "-n", NAMESPACE, "-f", "-", input=everything)
    wait = ("wait", "--for=condition=Complete", "job", "-l", f"bench={label}", f"--timeout={LIMIT_SECONDS}s")
    cluster.kubectl(*wait, "-n", NAMESPACE, timeout=LIMIT_SECONDS)
    seconds = time.perf_counter() - begun
    cluster.kubectl("delete", "job", "-l", f"bench={label}", "-n", NAMESPACE, timeout=LIMIT_SECONDS)
    return seconds


def run_ours(cluster: Cluster, *, turn: int, count: int) -> float:
    """Seconds until a ScanJob of that many tasks is Complete."""
    name = f"ours-{count}-{turn}"
    tasks = [{"id": f"t{number}", "command": ["true"]} for number in range(count)]
    job = manifest("ScanJob", name, NAMESPACE, {"poolRef": {"name": POOL}, "tasks": tasks})
    begun = time.perf_counter()
    cluster.kubectl("create", "-f", "-", input=json.dumps(job))
    wait = ("wait", "--for=condition=Complete", f"scanjob/{name}", f"--timeout={LIMIT_SECONDS}s")
    cluster.kubectl(*wait, "-n", NAMESPACE, timeout=LIMIT_SECONDS)
    return time.perf_counter() - begun


async def until_no_pods(cluster: Cluster) -> None:
    """Wait until no Pod is left of the turn before: it would hold the node's processors."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while (await asyncio.to_thread(cluster.json, "get", "pods", "-n", NAMESPACE))["items"]:  # noqa: ASYNC110
            await asyncio.sleep(0.5)  # each look is a call of kubectl


async def check_all_succeeded(resources: KubernetesResources, name: str, count: int) -> None:
    """A figure of tasks that did not run would be none."""
    tasks = (await resources.get(SCAN_JOB, Key(NAMESPACE, name)))["status"]["tasks"]
    if tasks.get("succeeded") != count:
        raise RuntimeError(f"of the {count} tasks of {name}: {tasks}")


async def measure() -> None:
    """Turns of both, for each count."""
    with real_node() as (built, folder, image):
        cluster = built.cluster
        cluster.kubectl("create", "namespace", NAMESPACE)
        resources = KubernetesResources(Connection.from_kubeconfig(cluster.kubeconfig))
        with pod_operator(built, folder, worker_image=image, forked=False) as operator:
            template = {"resources": SMALL}
            spec = {"backend": "kubernetes", "isolation": "PerTask", "maxWorkers": 50, "kubernetes": template}
            await resources.create(WORKER_POOL, manifest("WorkerPool", POOL, NAMESPACE, spec))
            for count, turns in COUNTS.items():
                bare, ours = [], []
                for turn in range(turns):
                    bare.append(await asyncio.to_thread(run_bare, cluster, image, turn=turn, count=count))
                    await until_no_pods(cluster)
                    ours.append(await asyncio.to_thread(run_ours, cluster, turn=turn, count=count))
                    await check_all_succeeded(resources, f"ours-{count}-{turn}", count)
                    await until_no_pods(cluster)
                ratios = [mine / theirs for mine, theirs in zip(ours, bare, strict=True)]
                print_line(
                    "a Pod a task",
                    tasks=count,
                    seconds=median(ours),
                    kubectl_create_job_seconds=median(bare),
                    ratio=median(ratios),
                    least=min(ratios),
                    most=max(ratios),
                )
            operator.process.stop()
        await resources.close()


def main() -> None:
    """Measure."""
    asyncio.run(measure())
