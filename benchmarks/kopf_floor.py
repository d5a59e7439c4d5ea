"""`python -m benchmarks.kopf_floor`: what watching through kopf costs, next to our own reflector, as JSON lines.

Both watch the embedded API over loopback, one after the other, with the server in the same process; so figures are for
comparing the two, and contain the server's own share. Bounded: 1000 objects listed, 300 changes one at a time.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median, quantiles

from mahavishnu_operator.control.kopf_feed import KopfFeed
from mahavishnu_operator.control.serving import listen, serve
from mahavishnu_operator.resources.cache import Reflector
from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.embedded import EmbeddedResources
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from mahavishnu_operator.resources.protocol import WORKER_POOL, Key
from mahavishnu_operator.resources.rest import api_app
from mahavishnu_operator.support.logs import configure_logging

from .figures import print_line

OBJECTS, CHANGES = 1000, 300
LIMIT_SECONDS = 120


class Heard:
    """Counts what a contender hands over."""

    def __init__(self) -> None:
        self.count, self._news = 0, asyncio.Event()

    def __call__(self, *_: object) -> None:
        self.count += 1
        self._news.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(LIMIT_SECONDS):
            while self.count < count:
                self._news.clear()
                await self._news.wait()


Contender = Callable[[str, Heard], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def through_kopf(url: str, heard: Heard) -> AsyncIterator[None]:
    async with KopfFeed(Connection.from_url(url), heard):
        yield


@asynccontextmanager
async def through_reflector(url: str, heard: Heard) -> AsyncIterator[None]:
    client = KubernetesResources(Connection.from_url(url))
    running = asyncio.create_task(Reflector(client, WORKER_POOL, on_change=heard).run())
    yield
    running.cancel()
    await asyncio.wait({running})
    await client.close()


async def measure(name: str, contender: Contender, url: str, resources: EmbeddedResources) -> None:
    """Print the line of one contender."""
    heard = Heard()
    begun, cpu = time.perf_counter(), time.process_time()
    async with contender(url, heard):
        await heard.until(OBJECTS)
        listed, listed_cpu = time.perf_counter() - begun, time.process_time() - cpu
        latencies, cpu = [], time.process_time()
        for number in range(CHANGES):
            key = Key("bench", f"p{number}")
            await resources.merge_status(WORKER_POOL, key, {"ready": number, "selector": name})
            begun = time.perf_counter()
            await heard.until(OBJECTS + number + 1)
            latencies.append(time.perf_counter() - begun)
        print_line(
            "watch",
            contender=name,
            listed_ms=1000 * listed,
            listed_cpu_ms=1000 * listed_cpu,
            change_p50_ms=1000 * median(latencies),
            change_p99_ms=1000 * quantiles(latencies, n=100)[98],
            cpu_ms_a_change=1000 * (time.process_time() - cpu) / CHANGES,
        )


async def main() -> None:
    """Fill an embedded API server, then measure both."""
    configure_logging(level="warning")
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        resources = EmbeddedResources(folder / "objects.db")
        listener = listen("127.0.0.1", 0)
        await stack.enter_async_context(serve(api_app(resources), listener))
        stack.push_async_callback(resources.close)
        for number in range(OBJECTS):
            meta = {"name": f"p{number}", "namespace": "bench"}
            spec = {"backend": "local-process"}
            pool = {"apiVersion": "mahavishnu.dev/v1alpha1", "kind": "WorkerPool", "metadata": meta, "spec": spec}
            await resources.create(WORKER_POOL, pool)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        await measure("our reflector", through_reflector, url, resources)
        await measure("kopf in a thread", through_kopf, url, resources)


if __name__ == "__main__":
    asyncio.run(main())
