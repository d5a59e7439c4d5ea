"""ScanJobs of one no-op task whose workers are warm Pods of a real node, next to a bare kopf handler in the same run.

Created at 75 a second for a minute, from the request for its creation to seeing it Complete; both contenders are asked
by one client, on one API server, one after the other.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from statistics import median, quantiles

import psutil

from benchmarks.apiserver import count_writes
from benchmarks.figures import print_line
from benchmarks.scanjobs import POOL, Client, client_in, cpu_by_process, cpu_since, floor, manifest
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from mahavishnu_operator.resources.protocol import WORKER_POOL, Key
from tests.e2e.operating import SMALL, pod_operator

from .real_node import real_node

RATE, SECONDS = 75, 60
WORKERS = 2
READY_SECONDS = 120


async def make_pool(resources: KubernetesResources, namespace: str) -> None:
    """A pool of warm Pods, once they are ready."""
    spec = {"backend": "kubernetes", "replicas": WORKERS, "maxWorkers": WORKERS, "kubernetes": {"resources": SMALL}}
    await resources.create(WORKER_POOL, manifest("WorkerPool", POOL, namespace, spec))
    async with asyncio.timeout(READY_SECONDS):
        while await count_ready(resources, namespace) != WORKERS:  # noqa: ASYNC110
            await asyncio.sleep(0.2)  # each look is a call to the API server


async def count_ready(resources: KubernetesResources, namespace: str) -> int:
    """Workers of the pool that are ready."""
    ready: int = (await resources.get(WORKER_POOL, Key(namespace, POOL)))["status"].get("ready", 0)
    return ready


@dataclass(frozen=True)
class Found:
    """Of one contender: latencies in ms, and how much of all processors was taken meanwhile, by whomever."""

    waits: list[float]
    busy_percent: float
    spent: dict[str, float]  # processor ms a ScanJob of some processes; those of the node are not among them


async def take(client: Client) -> Found:
    """A minute of it; two seconds of warming up are left out."""
    await client.run_at_rate(per_second=20, seconds=2)
    used, _ = cpu_by_process(), psutil.cpu_percent()
    waits = [1000 * each for each in await client.run_at_rate(per_second=RATE, seconds=SECONDS)]
    busy, jobs = psutil.cpu_percent(), RATE * SECONDS
    spent = {who: 1000 * seconds / jobs for who, seconds in cpu_since(used).items()}
    return Found(waits, busy, spent)


async def measure() -> None:
    """The floor, then ours."""
    found: dict[str, Found] = {}
    with real_node() as (built, folder, image):
        cluster = built.cluster
        async with client_in(cluster, "floor") as (client, _):
            with floor(cluster, folder):
                found["bare kopf"] = await take(client)
        with pod_operator(built, folder, worker_image=image, forked=False) as operator:
            async with client_in(cluster, "warm") as (client, resources):
                await make_pool(resources, "warm")
                before = await count_writes(resources)
                found["mahavishnu"] = await take(client)
                writes = (await count_writes(resources) - before).total() / (RATE * SECONDS + 40) - 1
            operator.process.stop()
    p50 = {name: median(each.waits) for name, each in found.items()}
    p99 = {name: quantiles(each.waits, n=100)[98] for name, each in found.items()}
    for name, each in found.items():
        busy = each.busy_percent
        print_line("warm Pods", contender=name, per_second=RATE, p50_ms=p50[name], p99_ms=p99[name], busy_percent=busy)
        print_line("warm Pods, processor ms a ScanJob", contender=name, **each.spent)
    print_line(
        "warm Pods, ratios to a bare kopf handler",
        p50=p50["mahavishnu"] / p50["bare kopf"],
        p99=p99["mahavishnu"] / p99["bare kopf"],
        api_writes_a_job=writes,
    )


def main() -> None:
    """Measure."""
    asyncio.run(measure())
