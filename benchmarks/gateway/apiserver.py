"""pool_execute of a no-op through a real API server and the operator, next to the ScanJob alone that it makes.

The gateway is `mahavishnu mcp start`, the worker one process of the operator. The yardstick creates the same ScanJobs
by one client and sees them end; it knows no gateway, and reads no result.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.apiserver import api_server
from benchmarks.figures import print_line
from benchmarks.scanjobs import POOL, client_in, manifest
from mahavishnu_operator.resources.protocol import WORKER_POOL
from tests.cluster.client import Cluster
from tests.integration.cli_tools import MAHAVISHNU, environment
from tests.integration.operator_tools import OperatorProcess, account

from .calling import NOOP, Call, at_rate, callers, one_at_a_time, percentiles, print_waits

ROUNDS, RATES, SECONDS, CLIENTS = 2, (10, 75), 8.0, 4
NAMESPACE = "agents"
OURS, ALONE = "pool_execute", "the ScanJob alone"
LIMIT_SECONDS = 60


@contextmanager
def gateway(cluster: Cluster, operator: OperatorProcess, root: Path) -> Iterator[str]:
    """The address of a gateway before that operator."""
    log = root.parent / "gateway.log"
    command = [
        MAHAVISHNU,
        "mcp",
        "start",
        "--port",
        "0",
        "--kubeconfig",
        str(cluster.kubeconfig),
        "--namespace",
        NAMESPACE,
    ]
    command += ["--dispatcher-url", operator.dispatcher, "--workspace", str(root)]
    with log.open("w") as stderr:
        process = subprocess.Popen(command, env=environment(), stderr=stderr)
    try:
        deadline = time.monotonic() + LIMIT_SECONDS
        while not (found := re.search(r"serving agents on (http://\S+)/mcp", log.read_text())):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text())
            time.sleep(0.05)
        yield found.group(1)
    finally:
        process.terminate()
        process.wait(LIMIT_SECONDS)


async def measure(cluster: Cluster, url: str) -> None:
    """Turns of both at each rate, then the ratios."""
    waits: dict[tuple[str, int], list[float]] = defaultdict(list)
    spec = {"backend": "local-process", "minWorkers": 1, "maxWorkers": 1}
    async with client_in(cluster, NAMESPACE) as (client, resources), callers(url, clients=CLIENTS) as agents:
        await resources.create(WORKER_POOL, manifest("WorkerPool", POOL, NAMESPACE, spec))

        async def create_and_see_it_end() -> None:
            await client.run_one()

        contenders: dict[str, Call] = {
            ALONE: create_and_see_it_end,
            OURS: agents.calling("pool_execute", pool_id=POOL, prompt=NOOP),
        }
        for call in contenders.values():
            await one_at_a_time(call, count=20)  # warm
        for _ in range(ROUNDS):
            for name, call in contenders.items():
                for rate in RATES:
                    waits[name, rate] += await at_rate(call, per_second=rate, seconds=SECONDS)
    for (name, rate), found in waits.items():
        print_waits("gateway, API server", found, contender=name, at=f"{rate} a second")
    pairs = {rate: (percentiles(waits[OURS, rate]), percentiles(waits[ALONE, rate])) for rate in RATES}
    print_line(
        "gateway, API server, ratios to the ScanJob alone",
        **{f"p50_at_{rate}": ours[0] / alone[0] for rate, (ours, alone) in pairs.items()},
        **{f"p99_at_{rate}": ours[1] / alone[1] for rate, (ours, alone) in pairs.items()},
    )


def main() -> None:
    """Measure."""
    with api_server() as (cluster, folder):
        root = folder / "root"
        root.mkdir()
        with OperatorProcess(account(cluster), folder, root=root, forked=False) as operator:
            with gateway(cluster, operator, root) as url:
                asyncio.run(measure(cluster, url))
            operator.process.stop()
