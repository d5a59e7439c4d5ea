"""pool_execute of a no-op beside `mahavishnu up`, on a warm worker, next to a bare FastMCP tool that does nothing.

Both by the same clients and over the same kind of HTTP server, in turns; so what a protocol and a client cost is in
both figures. Ours is a ScanJob that is created, planned, leased, done, durable, and read.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import defaultdict
from pathlib import Path

import psutil

from benchmarks.figures import print_line
from benchmarks.queued import cpu_seconds
from tests.integration.cli_tools import MAHAVISHNU, running_up

from .bare import bare_server
from .calling import NOOP, Call, at_rate, callers, one_at_a_time, percentiles, print_waits

ROUNDS, ONE_AT_A_TIME, RATE, SECONDS, CLIENTS = 3, 100, 50, 8.0, 4
OURS, BARE = "pool_execute", "bare tool"
ALONE = 1  # one at a time


async def measure(ours: str, bare: str, process: psutil.Process) -> None:
    """Turns of both, then the ratios."""
    waits: dict[tuple[str, int], list[float]] = defaultdict(list)
    cpu = 0.0
    async with callers(ours, clients=CLIENTS) as our, callers(bare, clients=CLIENTS) as their:
        pool = await our.call("pool_spawn", name="bench", worker_type="command", min_workers=1, max_workers=1)
        contenders: dict[str, Call] = {
            BARE: their.calling("nothing"),
            OURS: our.calling("pool_execute", pool_id=pool["pool_id"], prompt=NOOP),
        }
        for call in contenders.values():
            await one_at_a_time(call, count=20)  # warm
        for _ in range(ROUNDS):
            for name, call in contenders.items():
                waits[name, ALONE] += await one_at_a_time(call, count=ONE_AT_A_TIME)
                used = cpu_seconds(process)
                waits[name, RATE] += await at_rate(call, per_second=RATE, seconds=SECONDS)
                cpu += cpu_seconds(process) - used if name == OURS else 0.0
    for (name, rate), found in waits.items():
        print_waits(
            "gateway, embedded", found, contender=name, at="one at a time" if rate == ALONE else f"{rate} a second"
        )
    (ours_alone, _), (bare_alone, _) = percentiles(waits[OURS, ALONE]), percentiles(waits[BARE, ALONE])
    (ours_50, ours_99), (bare_50, bare_99) = percentiles(waits[OURS, RATE]), percentiles(waits[BARE, RATE])
    print_line(
        "gateway, embedded, ratios to a bare tool",
        p50_one_at_a_time=ours_alone / bare_alone,
        p50=ours_50 / bare_50,
        p99=ours_99 / bare_99,
        server_cpu_ms_a_call=1000 * cpu / (ROUNDS * RATE * SECONDS),
    )


def main() -> None:
    """Measure."""
    with (
        tempfile.TemporaryDirectory(prefix="mahavishnu-bench-") as folder,
        bare_server() as bare,
        running_up(Path(folder) / "data", "--workspace", folder, program=MAHAVISHNU) as up,
    ):
        asyncio.run(measure(up.url, bare, psutil.Process(up.process.pid)))
