"""A thousand pools of ten workers and five thousand ScanJobs, and a tenth of each in the same run.

The Pods are simulated (kwok), their workers are real lease loops with tokens bound to those Pods; the API server, the
scheduler, the controllers and the operator are real. Everything shares this machine, so what counts is the ratio
between the two sizes, and to a bare kopf handler that is given as many ScanJobs in the same run. `SCALE_DIVISOR=10` in
the environment makes each size a tenth of that: minutes instead of an hour.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.apiserver import api_server, count_writes
from benchmarks.figures import print_line
from benchmarks.queued import cpu_seconds
from benchmarks.scanjobs import Client, cpu_by_process, cpu_since, floor, manifest
from mahavishnu_operator.api.reasons import Label
from mahavishnu_operator.backends.kubernetes.settings import POD
from mahavishnu_operator.resources.cache import Reflector
from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from mahavishnu_operator.resources.protocol import WORKER_POOL, Key
from tests.cluster.build import ensure
from tests.cluster.client import Cluster
from tests.cluster.node.simulation import LABEL, TAINT, apply, kwok, simulated_node
from tests.integration.operator_tools import OperatorProcess, account

WORKERS_A_POOL = 10
PODS_A_NODE = 110
LIMIT_SECONDS = 1800
CREATING = 16
IDLE_SECONDS = 50  # in which each worker asks once
# What the operator writes beside our kinds, and what the cluster's own controllers answer it with.
GUARDS = ("PATCH pods", "PATCH poddisruptionbudgets/status", "PUT poddisruptionbudgets/status")
# A machine that is all of this at once stands still now and then, and no lease shall end by it.
SETTINGS = {"MAHAVISHNU_LEASE_SECONDS": "60", "MAHAVISHNU_LOG_LEVEL": "warning"}


@dataclass(frozen=True)
class Size:
    """How much of it."""

    pools: int
    jobs: int

    @property
    def workers(self) -> int:
        """In all pools."""
        return self.pools * WORKERS_A_POOL


DIVISOR = int(os.environ.get("SCALE_DIVISOR", "1"))
SIZES = tuple(Size(pools=pools // DIVISOR, jobs=5 * pools // DIVISOR) for pools in (100, 1000))


@dataclass(frozen=True)
class Found:
    """What one size cost. Processor seconds are the operator's."""

    size: Size
    steady_seconds: float
    steady_cpu_seconds: float
    jobs_per_second: float
    jobs_cpu_seconds: float
    jobs_cpu_of_all: dict[str, float]
    writes_a_job: dict[str, float]
    resident_mib: float
    idle_cpu_percent: float
    stop_seconds: float


class Pools:
    """The pools of a namespace, and how many of their workers are ready."""

    def __init__(self, resources: KubernetesResources, namespace: str) -> None:
        self._ready: dict[Key, int] = {}
        self._changed = asyncio.Event()
        self._seen = Reflector(resources, WORKER_POOL, on_change=self._look, namespace=namespace)

    async def watch(self) -> None:
        """Follow them until cancelled."""
        await self._seen.run()

    def _look(self, key: Key) -> None:
        pool = self._seen.store.get(key)
        self._ready[key] = (pool.get("status") or {}).get("ready", 0) if pool is not None else 0
        self._changed.set()

    async def until_ready(self, workers: int) -> None:
        """Return when so many workers are ready."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while sum(self._ready.values()) < workers:
                self._changed.clear()
                await self._changed.wait()


@contextmanager
def fleet(cluster: Cluster, namespace: str, dispatcher: str, log: Path) -> Iterator[None]:
    """The lease loops of the simulated Pods."""
    command = [sys.executable, "-m", "benchmarks.cluster.simulated_workers"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, str(cluster.kubeconfig), namespace, dispatcher], stdin=subprocess.PIPE, stderr=output
        )
    try:
        yield
        if process.poll() is not None:
            raise RuntimeError(f"the simulated workers ended with {process.returncode}: {log.read_text()[-2000:]}")
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def resources_of(cluster: Cluster) -> AsyncIterator[KubernetesResources]:
    """The administrator's client."""
    resources = KubernetesResources(Connection.from_kubeconfig(cluster.kubeconfig))
    try:
        yield resources
    finally:
        await resources.close()


async def make_pools(resources: KubernetesResources, namespace: str, size: Size) -> list[str]:
    """Create them; their names."""
    names = [f"pool-{number}" for number in range(size.pools)]
    template = {"nodeSelector": LABEL, "tolerations": [{"key": TAINT["key"], "operator": "Exists"}]}
    spec = {"backend": "kubernetes", "replicas": WORKERS_A_POOL, "maxWorkers": WORKERS_A_POOL, "kubernetes": template}
    creating = asyncio.Semaphore(CREATING)

    async def make(name: str) -> None:
        async with creating:
            await resources.create(WORKER_POOL, manifest("WorkerPool", name, namespace, spec))

    await asyncio.gather(*(make(name) for name in names))
    return names


async def take(cluster: Cluster, folder: Path, size: Size) -> Found:
    """One size: pools to steady state, then ScanJobs as fast as may be, then nothing for a while."""
    namespace = f"scale-{size.pools}"
    await asyncio.to_thread(cluster.kubectl, "create", "namespace", namespace)
    operator = OperatorProcess(
        account(cluster), folder, root=None, worker_image="simulated", namespaces=(namespace,), forked=False
    )
    async with resources_of(cluster) as resources:
        with operator, fleet(cluster, namespace, operator.dispatcher, folder / "fleet.log"):
            process = psutil.Process(operator.process.pid)
            pools = Pools(resources, namespace)
            client_watching = pools_watching = asyncio.create_task(pools.watch())
            try:
                begun, cpu = time.perf_counter(), cpu_seconds(process)
                names = await make_pools(resources, namespace, size)
                await pools.until_ready(size.workers)
                steady, steady_cpu = time.perf_counter() - begun, cpu_seconds(process) - cpu

                client = Client(resources, namespace, names, limit=LIMIT_SECONDS)
                client_watching = asyncio.create_task(client.watch())
                writes, cpu = await count_writes(resources, also=GUARDS), cpu_seconds(process)
                used = cpu_by_process()
                per_second = await client.run_burst(size.jobs)
                jobs_cpu = cpu_seconds(process) - cpu
                spent = cpu_since(used)
                spent["workers"] = spent.pop("operator and workers") - jobs_cpu
                await until_unmarked(resources, namespace)
                writes = await count_writes(resources, also=GUARDS) - writes
                idle_cpu = cpu_seconds(process)
                await asyncio.sleep(IDLE_SECONDS)
                idle_cpu = (cpu_seconds(process) - idle_cpu) / IDLE_SECONDS
                resident = process.memory_info().rss / 2**20
            finally:
                for watching in (pools_watching, client_watching):
                    watching.cancel()
                    with suppress(asyncio.CancelledError):
                        await watching
            stop = time.perf_counter()
            await asyncio.to_thread(operator.process.stop, LIMIT_SECONDS)
            stop = time.perf_counter() - stop
    del writes["POST scanjobs"]  # the client's own
    return Found(
        size=size,
        steady_seconds=steady,
        steady_cpu_seconds=steady_cpu,
        jobs_per_second=per_second,
        jobs_cpu_seconds=jobs_cpu,
        jobs_cpu_of_all=spent | {"operator": jobs_cpu},
        writes_a_job=each_of(writes, size.jobs),
        resident_mib=resident,
        idle_cpu_percent=100 * idle_cpu,
        stop_seconds=stop,
    )


async def until_unmarked(resources: KubernetesResources, namespace: str) -> None:
    """Wait until no worker is marked busy any more: taking a mark back is a write too, and comes late."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while (await resources.list(POD, namespace=namespace, label_selector=f"{Label.BUSY}=true")).items:  # noqa: ASYNC110
            await asyncio.sleep(1)  # each look is a call to the API server


def each_of(writes: Counter[str], jobs: int) -> dict[str, float]:
    """A job's share."""
    return {what: count / jobs for what, count in writes.items()}


async def clear(cluster: Cluster, namespace: str) -> None:
    """Let the API server forget the objects, so that the next size is not slowed by them."""
    for path in (
        f"/apis/mahavishnu.dev/v1alpha1/namespaces/{namespace}/scanjobs",
        f"/apis/mahavishnu.dev/v1alpha1/namespaces/{namespace}/workerpools",
        f"/api/v1/namespaces/{namespace}/pods",
    ):
        await asyncio.to_thread(cluster.kubectl, "delete", "--raw", path, timeout=LIMIT_SECONDS)
    await asyncio.to_thread(cluster.kubectl, "delete", "namespace", namespace, "--wait=false")


async def take_floor(cluster: Cluster, folder: Path, size: Size) -> float:
    """ScanJobs a second of a bare kopf handler that is given as many."""
    namespace = f"floor-{size.jobs}"
    await asyncio.to_thread(cluster.kubectl, "create", "namespace", namespace)
    async with resources_of(cluster) as resources:
        client = Client(resources, namespace, limit=LIMIT_SECONDS)
        watching = asyncio.create_task(client.watch())
        try:
            with floor(cluster, folder):
                await client.run_one()
                return await client.run_burst(size.jobs)
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            await clear(cluster, namespace)


def print_found(found: Found) -> None:
    """Its lines."""
    size = found.size
    values = {
        "pools": size.pools,
        "workers": size.workers,
        "jobs": size.jobs,
        "steady_after_seconds": found.steady_seconds,
        "cpu_ms_a_worker_to_steady": 1000 * found.steady_cpu_seconds / size.workers,
        "jobs_per_second": found.jobs_per_second,
        "cpu_ms_a_job": 1000 * found.jobs_cpu_seconds / size.jobs,
        "operator_resident_mib": found.resident_mib,
        "idle_cpu_percent": found.idle_cpu_percent,
        "stop_seconds": found.stop_seconds,
    }
    print_line("scale", **values)
    print_line("scale, API writes a ScanJob", pools=size.pools, **found.writes_a_job)
    shares = {who: 1000 * seconds / size.jobs for who, seconds in found.jobs_cpu_of_all.items()}
    print_line("scale, processor ms a ScanJob", pools=size.pools, **shares)


async def measure() -> None:
    """Both sizes and their floors, the small ones first."""
    os.environ |= SETTINGS  # of the operators that are started here
    found, floors = [], []
    with api_server() as (cluster, folder):
        nodes = -(-SIZES[-1].workers // PODS_A_NODE) + 1
        apply(cluster, [simulated_node(f"simulated-{number}") for number in range(nodes)])
        simulation = kwok(cluster, binary=ensure(("kwok",))["kwok"], log=folder / "kwok.log")
        simulation.start()
        try:
            for size in SIZES:
                place = folder / f"size-{size.pools}"
                place.mkdir()
                floors.append(await take_floor(cluster, place, size))
                found.append(await take(cluster, place, size))
                print_found(found[-1])
                if size != SIZES[-1]:  # an API server needs longer than it gives a request to delete the large one
                    await clear(cluster, f"scale-{size.pools}")
        finally:
            simulation.kill()
    small, large = found
    print_line(
        "scale, ratios",
        throughput_to_a_bare_kopf_handler=large.jobs_per_second / floors[-1],
        throughput_at_a_tenth=small.jobs_per_second / floors[0],
        **{
            "cpu_of_a_job, large to small": (large.jobs_cpu_seconds / large.size.jobs)
            / (small.jobs_cpu_seconds / small.size.jobs),
            "cpu_of_a_worker, large to small": (large.steady_cpu_seconds / large.size.workers)
            / (small.steady_cpu_seconds / small.size.workers),
        },
    )


def main() -> None:
    """Measure."""
    asyncio.run(measure())
