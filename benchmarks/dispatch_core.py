"""The dispatcher alone: a bare worker loop over HTTP on loopback, real store, no-op tasks.

    python -m benchmarks.dispatch_core [--tasks N] [--one-at-a-time N] [--profile FILE]

Workers are processes of their own (two, as in the yardstick) that lease, answer at once and deliver, so that what is
measured is the dispatcher: queue, grants, results, HTTP and fsync. Prints JSON lines.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import sys
import tempfile
import time
import tracemalloc
from contextlib import nullcontext
from pathlib import Path
from statistics import median, quantiles

import aiohttp
import msgspec

from mahavishnu_operator.api.wire import (
    LeaseRequest,
    LeaseResponse,
    NoopTask,
    RegisterRequest,
    RegisterResponse,
    ResultsRequest,
    TaskResult,
)
from mahavishnu_operator.dispatch.dispatcher import Dispatcher
from mahavishnu_operator.dispatch.server import DispatchServer
from mahavishnu_operator.store.records import JobRecord, TaskKey, TaskRecord
from mahavishnu_operator.store.sqlite import SqliteStore

from .figures import print_line

POOL = "default/bench"
WORKERS = 2
BATCH = 64
NOOP = msgspec.json.encode(NoopTask())


async def worker(url: str, name: str, token: str) -> None:
    """Lease, answer, deliver, until the server is gone."""
    leased = msgspec.json.Decoder(LeaseResponse)
    async with aiohttp.ClientSession() as http:

        async def post(path: str, body: object, bearer: str) -> bytes:
            headers = {"Authorization": f"Bearer {bearer}"}
            async with http.post(url + path, data=msgspec.json.encode(body), headers=headers) as answer:
                answer.raise_for_status()
                return await answer.read()

        request = RegisterRequest(1, POOL, name, "bench", 1, "bench")
        session = msgspec.json.decode(await post("/v1/register", request, token), type=RegisterResponse).session
        try:
            while True:
                grants = leased.decode(await post("/v1/lease", LeaseRequest(BATCH, 30.0), session)).grants
                if grants:
                    results = tuple(TaskResult(grant.task, grant.attempt, "succeeded") for grant in grants)
                    await post("/v1/results", ResultsRequest(results), session)
        except aiohttp.ClientError:
            return


class Bench:
    """A dispatcher with its workers, and jobs to time."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._ended: dict[str, asyncio.Event] = {}
        dispatcher.on_job_changed(self._look)

    def _look(self, uid: str) -> None:
        progress = self._dispatcher.progress(uid)
        if progress is not None and progress.done:
            self._ended[uid].set()

    async def run(self, uid: str, count: int) -> float:
        """Seconds from submit to the last durable result."""
        ended = self._ended[uid] = asyncio.Event()
        rows = [TaskRecord(TaskKey(uid, f"t{n}"), n, NOOP) for n in range(count)]
        begun = time.perf_counter()
        await self._dispatcher.submit(JobRecord(uid, "default", uid, POOL), rows)
        async with asyncio.timeout(120):
            await ended.wait()
        return time.perf_counter() - begun


async def measure(tasks: int, one_at_a_time: int, profile: Path | None) -> None:
    """All figures, a line each."""
    with tempfile.TemporaryDirectory(prefix="mahavishnu-bench-") as folder:
        store = SqliteStore(Path(folder))
        async with Dispatcher(store, holder="bench") as dispatcher, DispatchServer(dispatcher) as server:
            bench = Bench(dispatcher)
            processes = [await _start(dispatcher, server.url, f"w{n}") for n in range(WORKERS)]
            await bench.run("warm-up", 200)
            profiler = cProfile.Profile() if profile is not None else nullcontext()
            processor = time.process_time()
            with profiler:
                seconds = await bench.run("many", tasks)
            processor = time.process_time() - processor
            if isinstance(profiler, cProfile.Profile):
                profiler.dump_stats(str(profile))
            print_line(
                "no-op tasks, durable",
                workers=WORKERS,
                tasks=tasks,
                tasks_per_second=tasks / seconds,
                dispatcher_cpu_us_a_task=1e6 * processor / tasks,
            )
            waits = [1000 * await bench.run(f"one-{n}", 1) for n in range(one_at_a_time)]
            print_line("one at a time", p50_ms=median(waits), p99_ms=quantiles(waits, n=100)[98])
            waits = await _at_rate(bench, per_second=50.0, count=300)
            print_line("50 a second", p50_ms=median(waits), p99_ms=quantiles(waits, n=100)[98])
        await asyncio.gather(*(process.wait() for process in processes))
        await store.close()
    await _memory()


async def _at_rate(bench: Bench, *, per_second: float, count: int) -> list[float]:
    """Milliseconds from submit to done, submitted on a timetable."""
    begun = asyncio.get_running_loop().time()

    async def one(number: int) -> float:
        await asyncio.sleep(max(0.0, begun + number / per_second - asyncio.get_running_loop().time()))
        return 1000 * await bench.run(f"rate-{number}", 1)

    return list(await asyncio.gather(*(one(number) for number in range(count))))


async def _memory() -> None:
    """What queued tasks cost in the dispatcher's memory, by how many there are."""
    for count in (1_000, 10_000):
        with tempfile.TemporaryDirectory(prefix="mahavishnu-bench-") as folder:
            store = SqliteStore(Path(folder))
            async with Dispatcher(store, holder="bench") as dispatcher:
                tracemalloc.start()
                rows = [TaskRecord(TaskKey("queued", f"t{n}"), n, bytes(NOOP)) for n in range(count)]
                await dispatcher.submit(JobRecord("queued", "default", "queued", POOL), rows)
                del rows
                size, _ = tracemalloc.get_traced_memory()
                tracemalloc.stop()
            await store.close()
        print_line("memory", queued=count, kib=size // 1024, bytes_a_task=size / count)


async def _start(dispatcher: Dispatcher, url: str, name: str) -> asyncio.subprocess.Process:
    token = await dispatcher.issue_token(pool=POOL, worker=name)
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.dispatch_core", "--worker", url, name, token
    )


def main() -> None:
    """Measure, or be one of the workers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dispatch_core")
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--one-at-a-time", type=int, default=300)
    parser.add_argument("--profile", type=Path)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        asyncio.run(worker(*options.worker))
    else:
        asyncio.run(measure(options.tasks, options.one_at_a_time, options.profile))


if __name__ == "__main__":
    main()
