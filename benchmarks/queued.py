"""What queued tasks cost `mahavishnu up`: memory, time to queue them, and processor time while they wait.

The tasks wait for a pool without workers, 500 a ScanJob (the most that one takes). Linear means: a task costs the same
among ten thousand as among a thousand.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from mahavishnu_operator.resources.protocol import SCAN_JOB, WORKER_POOL, Key
from tests.integration.cli_tools import MAHAVISHNU, running_up

from .figures import print_line
from .scanjobs import manifest

COUNTS = (1_000, 10_000)
TASKS_A_JOB = 500
NAMESPACE, POOL = "default", "bench"
REST_SECONDS, WATCHED_SECONDS = 3.0, 10.0
LIMIT_SECONDS = 120


@dataclass(frozen=True)
class Cost:
    """Of `count` queued tasks, beyond the same process with none. Times are of the processor."""

    count: int
    resident_bytes: int
    queueing_seconds: float
    resting_share: float

    @property
    def bytes_a_task(self) -> float:
        """Resident memory."""
        return self.resident_bytes / self.count

    @property
    def cpu_ms_a_task(self) -> float:
        """From the request to the durable, queued task."""
        return 1000 * self.queueing_seconds / self.count


async def queue_up(url: str, process: psutil.Process, *, count: int) -> Cost:
    """Queue that many tasks and measure."""
    resources = KubernetesResources(Connection.from_url(url))
    try:
        pool = {"backend": "local-process", "minWorkers": 0, "maxWorkers": 1, "replicas": 0}
        await resources.create(WORKER_POOL, manifest("WorkerPool", POOL, NAMESPACE, pool))
        await run_jobs(resources, "warm", count=1)
        await asyncio.sleep(REST_SECONDS)
        memory, cpu = process.memory_info().rss, cpu_seconds(process)
        await run_jobs(resources, "job", count=count // TASKS_A_JOB)
        await asyncio.sleep(REST_SECONDS)
        memory, cpu = process.memory_info().rss - memory, cpu_seconds(process) - cpu
        resting = cpu_seconds(process)
        await asyncio.sleep(WATCHED_SECONDS)
        resting = (cpu_seconds(process) - resting) / WATCHED_SECONDS
    finally:
        await resources.close()
    return Cost(count, memory, cpu, resting)


async def run_jobs(resources: KubernetesResources, name: str, *, count: int) -> None:
    """Create ScanJobs and return when the status of each says that all its tasks are queued."""
    tasks = [{"id": f"t{number}", "command": ["builtin:noop"]} for number in range(TASKS_A_JOB)]
    spec = {"poolRef": {"name": POOL}, "tasks": tasks}
    for number in range(count):
        await resources.create(SCAN_JOB, manifest("ScanJob", f"{name}-{number}", NAMESPACE, spec))
    async with asyncio.timeout(LIMIT_SECONDS):
        for number in range(count):
            while True:
                job = await resources.get(SCAN_JOB, Key(NAMESPACE, f"{name}-{number}"))
                if (job.get("status") or {}).get("tasks", {}).get("queued") == TASKS_A_JOB:
                    break
                await asyncio.sleep(0.1)


def cpu_seconds(process: psutil.Process) -> float:
    """Processor time so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    """A line a count, each in a process of its own, then how far it is from linear."""
    costs = []
    for count in COUNTS:
        with (
            tempfile.TemporaryDirectory(prefix="mahavishnu-bench-") as folder,
            running_up(Path(folder) / "data", program=MAHAVISHNU) as up,
        ):
            costs.append(asyncio.run(queue_up(up.url, psutil.Process(up.process.pid), count=count)))
    for cost in costs:
        print_line(
            "queued tasks",
            count=cost.count,
            resident_bytes_a_task=cost.bytes_a_task,
            queueing_cpu_ms_a_task=cost.cpu_ms_a_task,
            cpu_share_while_they_wait=cost.resting_share,
        )
    few, many = costs
    print_line(
        "queued tasks, cost of one among many to one among few",
        memory=many.bytes_a_task / few.bytes_a_task,
        queueing_cpu=many.cpu_ms_a_task / few.cpu_ms_a_task,
    )
