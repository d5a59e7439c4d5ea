"""The engine's dispatch path: a real store on disk, the dispatcher's HTTP service, two worker processes.

Every grant and every result is on disk before it is answered (fsync), unlike the yardstick.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median

import msgspec

from mahavishnu_operator.api.wire import NoopTask, TaskSpec
from mahavishnu_operator.dispatch.dispatcher import Dispatcher
from mahavishnu_operator.dispatch.server import DispatchServer
from mahavishnu_operator.store.records import JobRecord, TaskKey, TaskRecord
from mahavishnu_operator.store.sqlite import SqliteStore

from .figures import Figures

POOL = "bench/pool"
WARM_UP = 50
LIMIT_SECONDS = 120


class Contender:
    """A dispatcher with two agents; `run_job` waits for a job whose tasks are all `spec`."""

    def __init__(self, dispatch: Dispatcher, spec: TaskSpec | None = None) -> None:
        self._dispatch, self._spec = dispatch, msgspec.json.encode(spec or NoopTask())
        self._changed = asyncio.Event()
        self._count = 0
        dispatch.on_job_changed(lambda _: self._changed.set())

    async def run_job(self, tasks: int) -> float:
        """Seconds from submitting until every result is on disk."""
        self._count += 1
        uid = f"job-{self._count}"
        rows = [TaskRecord(TaskKey(uid, f"t{number}"), number, self._spec) for number in range(tasks)]
        begun = time.perf_counter()
        await self._dispatch.submit(JobRecord(uid, "bench", uid, POOL), rows)
        async with asyncio.timeout(LIMIT_SECONDS):
            while (progress := self._dispatch.progress(uid)) is not None and not progress.done:
                self._changed.clear()
                await self._changed.wait()
        seconds = time.perf_counter() - begun
        if progress is None or progress.succeeded != tasks:
            raise RuntimeError(f"{uid} did not end well: {progress}")
        return seconds

    async def run_at_rate(self, *, per_second: int, seconds: int) -> list[float]:
        """Latencies of single-task jobs that arrive at a steady rate, one after another at the most."""
        loop, latencies, begun = asyncio.get_running_loop(), [], asyncio.get_running_loop().time()
        for number in range(per_second * seconds):
            await asyncio.sleep(max(0.0, begun + number / per_second - loop.time()))
            latencies.append(await self.run_job(1))
        return latencies


@asynccontextmanager
async def two_workers(spec: TaskSpec | None = None) -> AsyncIterator[Contender]:
    """The engine with two registered workers, warm."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        store = SqliteStore(folder / "store")
        stack.push_async_callback(store.close)
        dispatch = await stack.enter_async_context(Dispatcher(store, holder="bench"))
        server = await stack.enter_async_context(DispatchServer(dispatch))
        for name in ("w1", "w2"):
            await _start_agent(stack, dispatch, server.url, folder, name)
        contender = Contender(dispatch, spec)
        await contender.run_job(WARM_UP)
        yield contender


async def measure(*, tasks: int, one_at_a_time: int) -> tuple[Figures, list[float]]:
    """Throughput with all tasks queued at once, latency with one in flight, and latencies at 50 a second."""
    async with two_workers() as contender:
        throughput = tasks / await contender.run_job(tasks)
        waits = [await contender.run_job(1) for _ in range(one_at_a_time)]
        at_rate = await contender.run_at_rate(per_second=50, seconds=10)
        return Figures(throughput, tuple(waits), median(waits)), at_rate


async def _start_agent(stack: AsyncExitStack, dispatch: Dispatcher, url: str, folder: Path, name: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mahavishnu_operator.worker", stdin=asyncio.subprocess.PIPE
    )
    token = await dispatch.issue_token(pool=POOL, worker=name)
    config = {"server": url, "token": token, "pool": POOL, "worker": name, "workDir": str(folder / name)}
    config["logLevel"] = "warning"
    if process.stdin is None:
        raise RuntimeError("the agent has no stdin")
    process.stdin.write(json.dumps(config).encode() + b"\n")

    async def stop() -> None:
        process.terminate()
        await process.wait()

    stack.push_async_callback(stop)
