"""Ten pools of ten workers beside one gateway: commands that any pool may run, as many at once as there are workers.

The workers are lease loops in processes of their own, on the same machine as server and clients; so what is measured is
how fast the server hands out, and what it keeps. Each call is a ScanJob that is routed to the least loaded pool.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
import tempfile
from pathlib import Path

import psutil

from benchmarks.figures import print_line
from benchmarks.queued import cpu_seconds
from tests.integration.cli_tools import running_up

from .calling import NOOP, as_fast_as_may_be, at_rate, callers, percentiles, print_waits

POOLS, WORKERS, CALLS, CLIENTS = 10, 10, 5_000, 10
RATE, SECONDS = 20, 10.0
READY_SECONDS = 300
MIB = 1024 * 1024


async def measure(url: str, process: psutil.Process) -> None:
    """Make the fleet, make the calls, and look on."""
    empty = process.memory_info().rss
    async with callers(url, clients=CLIENTS) as agents:
        sizes = {"min_workers": WORKERS, "max_workers": WORKERS, "timeout": READY_SECONDS}
        for number in range(POOLS):
            await agents.call("pool_spawn", name=f"pool-{number}", worker_type="command", **sizes)
        staffed = process.memory_info().rss
        route = agents.calling("pool_route_execute", prompt=NOOP)
        name = agents.calling("pool_execute", pool_id="pool-0", prompt=NOOP)
        routed = await at_rate(route, per_second=RATE, seconds=SECONDS)
        named = await at_rate(name, per_second=RATE, seconds=SECONDS)
        before = process.memory_info().rss
        used = cpu_seconds(process)
        throughput = await as_fast_as_may_be(route, count=CALLS, at_once=POOLS * WORKERS)
        used = cpu_seconds(process) - used
        after = process.memory_info().rss
    print_waits("gateway, fleet, one call", routed, tool="pool_route_execute", at=f"{RATE} a second")
    print_waits("gateway, fleet, one call", named, tool="pool_execute", at=f"{RATE} a second")
    print_line(
        "gateway, fleet",
        workers=POOLS * WORKERS,
        calls=CALLS,
        calls_per_second=throughput,
        server_cpu_ms_a_call=1000 * used / CALLS,
        routed_to_named_p50=percentiles(routed)[0] / percentiles(named)[0],
        server_mib_empty=empty / MIB,
        server_mib_with_workers=staffed / MIB,
        server_mib_after=after / MIB,
        kept_bytes_a_call=(after - before) / CALLS,
    )


def main() -> None:
    """Measure; then read how long the choices took."""
    with tempfile.TemporaryDirectory(prefix="mahavishnu-bench-") as name:
        folder = Path(name)
        program, noted = folder / "mahavishnu", folder / "choices.json"
        server = [sys.executable, "-m", "benchmarks.gateway.fleet_server", str(noted)]
        program.write_text(f'#!/bin/sh\nexec {shlex.join(server)} "$@"\n')
        program.chmod(0o755)
        with running_up(folder / "data", "--workspace", name, program=str(program)) as up:
            asyncio.run(measure(up.url, psutil.Process(up.process.pid)))
        print_waits("gateway, fleet, choosing a pool", json.loads(noted.read_text()), pools=POOLS)
