"""ScanJobs of one no-op task on a real API server, from creation to Complete, next to the floor of any operator.

The floor is a bare kopf handler that writes each ScanJob's status once (kopf_status.py). Both are asked in turns, on
one API server, by one client that creates the objects and watches for their end; so the client's and the server's own
share is in both figures. Etcd does not wait for the disk; our dispatcher does.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psutil

from mahavishnu_operator.api.reasons import API_VERSION
from mahavishnu_operator.resources.cache import Reflector
from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from mahavishnu_operator.resources.protocol import SCAN_JOB, WORKER_POOL, Key, Obj
from tests.cluster.client import Cluster
from tests.integration.operator_tools import OperatorProcess, account

from .apiserver import api_server, count_writes
from .figures import print_line

RATES = {10: 8, 75: 8}  # ScanJobs a second, and for how many seconds
BURST, IN_FLIGHT = 500, 32
ROUNDS = 2
POOL = "bench"
SERVERS = ("kube-apiserver", "etcd", "kube-scheduler", "kube-controller-manager", "kwok")
ENDS = ("Succeeded", "Failed", "Cancelled")


def manifest(kind: str, name: str, namespace: str, spec: dict[str, Any]) -> Obj:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


class Client:
    """Creates ScanJobs in a namespace, for each of its pools in turn, and sees them end."""

    def __init__(
        self, resources: KubernetesResources, namespace: str, pools: Sequence[str] = (POOL,), *, limit: float = 120
    ) -> None:
        """`limit`: seconds that a ScanJob may take, which in a burst is that of the last one."""
        self._resources, self._namespace, self._pools, self._limit = resources, namespace, pools, limit
        self._seen: Mapping[Key, Obj] = {}
        self._ended: dict[str, asyncio.Future[float]] = {}
        self._count = 0

    async def watch(self) -> None:
        """Follow the namespace until cancelled. A server drops a watch that is read too slowly: the list tells then."""
        seen = Reflector(self._resources, SCAN_JOB, on_change=self._look, namespace=self._namespace)
        self._seen = seen.store
        await seen.run()

    def _look(self, key: Key) -> None:
        obj, ended = self._seen.get(key), self._ended.get(key.name)
        phase = obj["status"]["phase"] if obj is not None else ""
        if phase not in ENDS or ended is None or ended.done():
            return
        if phase == "Succeeded":
            ended.set_result(time.perf_counter())
        else:
            ended.set_exception(RuntimeError(f"ScanJob {key} did not end well: {phase}"))

    async def run_one(self, *, creating: asyncio.Semaphore | None = None) -> float:
        """Seconds from asking for a ScanJob's creation to seeing its end. `creating` bounds how many are asked for."""
        self._count += 1
        name = f"job-{self._count}"
        ended = self._ended[name] = asyncio.get_running_loop().create_future()
        pool = self._pools[self._count % len(self._pools)]
        spec = {"poolRef": {"name": pool}, "tasks": [{"id": "t", "command": ["builtin:noop"]}]}
        async with creating or nullcontext():
            begun = time.perf_counter()
            await self._resources.create(SCAN_JOB, manifest("ScanJob", name, self._namespace, spec))
        async with asyncio.timeout(self._limit):
            seconds: float = await ended - begun
            return seconds

    async def run_at_rate(self, *, per_second: int, seconds: int) -> list[float]:
        """Latencies of ScanJobs that are created on a timetable."""
        loop = asyncio.get_running_loop()
        begun = loop.time()

        async def one(number: int) -> float:
            await asyncio.sleep(max(0.0, begun + number / per_second - loop.time()))
            return await self.run_one()

        return list(await asyncio.gather(*(one(number) for number in range(per_second * seconds))))

    async def run_burst(self, jobs: int = BURST) -> float:
        """ScanJobs a second from the first creation to the last end, when created as fast as the server takes them."""
        creating = asyncio.Semaphore(IN_FLIGHT)
        begun = time.perf_counter()
        await asyncio.gather(*(self.run_one(creating=creating) for _ in range(jobs)))
        return jobs / (time.perf_counter() - begun)


@dataclass(frozen=True)
class Round:
    """What one contender did in one turn. Latencies in seconds, by the rate at which ScanJobs were created."""

    latencies: dict[int, list[float]]
    per_second: float
    cpu_seconds: dict[str, float]  # a ScanJob of the burst, by who took it
    writes: dict[str, float]  # a ScanJob


@contextmanager
def floor(cluster: Cluster, folder: Path) -> Iterator[None]:
    """The bare kopf handler."""
    command = [sys.executable, "-m", "benchmarks.kopf_status", str(account(cluster).kubeconfig)]
    with (folder / "floor.log").open("ab") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def operator(cluster: Cluster, folder: Path) -> Iterator[None]:
    """Ours, with local workers."""
    (folder / "root").mkdir(exist_ok=True)
    with OperatorProcess(account(cluster), folder, root=folder / "root", forked=False) as process:
        yield
        process.process.stop()


@asynccontextmanager
async def client_in(cluster: Cluster, namespace: str) -> AsyncIterator[tuple[Client, KubernetesResources]]:
    """A client on a fresh namespace; the namespace goes in the end, with all in it."""
    await asyncio.to_thread(cluster.kubectl, "create", "namespace", namespace)
    resources = KubernetesResources(Connection.from_kubeconfig(cluster.kubeconfig))
    client = Client(resources, namespace)
    watching = asyncio.create_task(client.watch())
    try:
        yield client, resources
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await resources.close()
        for kind in ("scanjobs", "workerpools"):
            path = f"/apis/{API_VERSION}/namespaces/{namespace}/{kind}"
            await asyncio.to_thread(cluster.kubectl, "delete", "--raw", path)
        await asyncio.to_thread(cluster.kubectl, "delete", "namespace", namespace, "--wait=false")


async def take_turn(cluster: Cluster, contender: AbstractContextManager[None], namespace: str) -> Round:
    """One contender: its latencies, its throughput, and what it wrote for each ScanJob."""
    spec = {"backend": "local-process", "minWorkers": 1, "maxWorkers": 1}
    async with client_in(cluster, namespace) as (client, resources):
        await resources.create(WORKER_POOL, manifest("WorkerPool", POOL, namespace, spec))
        with contender:
            await client.run_at_rate(per_second=20, seconds=2)  # warm
            before, jobs = await count_writes(resources), BURST
            latencies = {}
            for rate, seconds in RATES.items():
                latencies[rate] = await client.run_at_rate(per_second=rate, seconds=seconds)
                jobs += len(latencies[rate])
            used = cpu_by_process()
            per_second = await client.run_burst()
            cpu = {who: seconds / BURST for who, seconds in cpu_since(used).items()}
            writes = await count_writes(resources) - before
            del writes["POST scanjobs"]  # the client's own
    return Round(latencies, per_second, cpu, {what: count / jobs for what, count in writes.items()})


def cpu_by_process() -> dict[str, float]:
    """Processor time so far of this process, which is the client, and of those below it, by what they are."""
    used = {"client": time.process_time()}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            name = process.name()
            times = process.cpu_times()
            who = name if name in SERVERS else "operator and workers"
            used[who] = used.get(who, 0.0) + times.user + times.system
    return used


def cpu_since(before: dict[str, float]) -> dict[str, float]:
    """Processor time of each since `cpu_by_process` answered that."""
    return {who: seconds - before.get(who, 0.0) for who, seconds in cpu_by_process().items()}


def report(rounds: dict[str, list[Round]]) -> None:
    """A line a contender and rate with all its rounds together, then the ratios."""
    p50: dict[tuple[str, int], float] = {}
    p99: dict[tuple[str, int], float] = {}
    spent: dict[str, dict[str, float]] = {}
    rates = {name: median(each.per_second for each in turns) for name, turns in rounds.items()}
    for name, turns in rounds.items():
        for rate in RATES:
            waits = [1000 * wait for each in turns for wait in each.latencies[rate]]
            p50[name, rate], p99[name, rate] = median(waits), quantiles(waits, n=100)[98]
            print_line("scanjobs", contender=name, per_second=rate, p50_ms=p50[name, rate], p99_ms=p99[name, rate])
        print_line("scanjobs, as fast as may be", contender=name, per_second=rates[name])
        spent[name] = {who: 1000 * median(each.cpu_seconds[who] for each in turns) for who in turns[0].cpu_seconds}
        print_line("scanjobs, processor ms a ScanJob", contender=name, **spent[name])
        writes = turns[-1].writes
        print_line("scanjobs, API writes a ScanJob", contender=name, all=sum(writes.values()), **writes)
    ours, bare = rounds
    print_line(
        "scanjobs, ratios to a bare kopf handler",
        throughput=rates[ours] / rates[bare],
        cpu=sum(spent[ours].values()) / sum(spent[bare].values()),
        **{f"p50_at_{rate}": p50[ours, rate] / p50[bare, rate] for rate in RATES},
        **{f"p99_at_{rate}": p99[ours, rate] / p99[bare, rate] for rate in RATES},
    )


async def measure() -> None:
    """Turns of both."""
    rounds: dict[str, list[Round]] = {"mahavishnu": [], "bare kopf": []}
    with api_server() as (cluster, folder):
        for number in range(ROUNDS):
            for name, contender in (("bare kopf", floor), ("mahavishnu", operator)):
                place = folder / f"{name.split()[0]}-{number}"
                place.mkdir()
                rounds[name].append(await take_turn(cluster, contender(cluster, place), place.name))
    report(rounds)


def main() -> None:
    """Measure."""
    asyncio.run(measure())
