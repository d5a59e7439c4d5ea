"""An operator with 100 pools and nothing to do, on a real API server: writes, and processor time."""

from __future__ import annotations

import asyncio

import psutil

from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from mahavishnu_operator.resources.protocol import WORKER_POOL, Key
from tests.cluster.client import Cluster
from tests.integration.operator_tools import OperatorProcess, account

from .apiserver import api_server, count_writes
from .figures import print_line
from .queued import cpu_seconds
from .scanjobs import manifest

POOLS, WITH_A_WORKER = 100, 2
SECONDS = 30.0
NAMESPACE = "default"
LIMIT_SECONDS = 120


async def watch_idle(cluster: Cluster, operator: psutil.Process) -> None:
    """Make the pools, let them come to rest, and look on."""
    resources = KubernetesResources(Connection.from_kubeconfig(cluster.kubeconfig))
    try:
        for number in range(POOLS):
            workers = 1 if number < WITH_A_WORKER else 0
            spec = {"backend": "local-process", "minWorkers": 0, "maxWorkers": 1, "replicas": workers}
            await resources.create(WORKER_POOL, manifest("WorkerPool", f"pool-{number}", NAMESPACE, spec))
        await until_ready(resources)
        await asyncio.sleep(5.0)  # the last status
        below = operator.children(recursive=True)
        writes, cpu = await count_writes(resources), cpu_seconds(operator)
        workers_cpu = sum(cpu_seconds(each) for each in below)
        await asyncio.sleep(SECONDS)
        cpu = (cpu_seconds(operator) - cpu) / SECONDS
        workers_cpu = (sum(cpu_seconds(each) for each in below) - workers_cpu) / SECONDS
        writes = await count_writes(resources) - writes
    finally:
        await resources.close()
    print_line(
        "idle",
        pools=POOLS,
        seconds=SECONDS,
        api_writes=writes.total(),
        operator_cpu_percent=100 * cpu,
        cpu_percent_a_worker=100 * workers_cpu / WITH_A_WORKER,
        operator_resident_mib=operator.memory_info().rss / 2**20,
    )


async def until_ready(resources: KubernetesResources) -> None:
    """Return when every pool's status says that it is as it should be."""
    async with asyncio.timeout(LIMIT_SECONDS):
        for number in range(POOLS):
            while True:
                pool = await resources.get(WORKER_POOL, Key(NAMESPACE, f"pool-{number}"))
                conditions = (pool.get("status") or {}).get("conditions", [])
                if any((each["type"], each["status"]) == ("Ready", "True") for each in conditions):
                    break
                await asyncio.sleep(0.1)


def main() -> None:
    """Measure."""
    with api_server() as (cluster, folder):
        (folder / "root").mkdir()
        with OperatorProcess(account(cluster), folder, root=folder / "root", forked=False) as operator:
            asyncio.run(watch_idle(cluster, psutil.Process(operator.process.pid)))
            operator.process.stop()
