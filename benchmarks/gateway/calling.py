"""An agent's calls, timed: one after another, and on a timetable whatever the answers take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median, quantiles
from typing import Any

from fastmcp import Client

from benchmarks.figures import print_line

Call = Callable[[], Awaitable[None]]
NOOP = "builtin:noop"
LIMIT_SECONDS = 120


class Callers:
    """Clients of one server in turn, each with its connections open and its list of tools read."""

    def __init__(self, clients: Sequence[Client[Any]]) -> None:
        self._clients, self._count = clients, 0

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """What a tool answers. ToolError, or RuntimeError: not well."""
        self._count += 1
        client = self._clients[self._count % len(self._clients)]
        answer = await client.call_tool(tool, arguments)
        shape: dict[str, Any] = answer.structured_content or {}
        if not shape.get("success"):
            raise RuntimeError(f"{tool} was answered {shape}")
        return shape

    def calling(self, tool: str, **arguments: Any) -> Call:
        """That call, to be made many times."""

        async def call() -> None:
            await self.call(tool, **arguments)

        return call


@asynccontextmanager
async def callers(url: str, *, clients: int) -> AsyncIterator[Callers]:
    """Connected clients."""
    async with AsyncExitStack() as stack:
        connected = [await stack.enter_async_context(Client(f"{url}/mcp")) for _ in range(clients)]
        for client in connected:
            await client.list_tools()
        yield Callers(connected)


async def one_at_a_time(call: Call, *, count: int) -> list[float]:
    """Seconds that each took."""
    return [await _timed(call) for _ in range(count)]


async def at_rate(call: Call, *, per_second: int, seconds: float) -> list[float]:
    """Seconds that each took of those that were made on a timetable."""
    loop = asyncio.get_running_loop()
    begun = loop.time()

    async def one(number: int) -> float:
        await asyncio.sleep(max(0.0, begun + number / per_second - loop.time()))
        return await _timed(call)

    async with asyncio.timeout(LIMIT_SECONDS):
        return list(await asyncio.gather(*(one(number) for number in range(int(per_second * seconds)))))


async def as_fast_as_may_be(call: Call, *, count: int, at_once: int) -> float:
    """Calls a second, with so many in flight."""
    left = iter(range(count))

    async def some() -> None:
        for _ in left:
            await call()

    begun = time.perf_counter()
    async with asyncio.timeout(5 * LIMIT_SECONDS):
        await asyncio.gather(*(some() for _ in range(at_once)))
    return count / (time.perf_counter() - begun)


def percentiles(waits: Sequence[float]) -> tuple[float, float]:
    """p50 and p99 in milliseconds."""
    return 1000 * median(waits), 1000 * quantiles(waits, n=100)[98]


def print_waits(name: str, waits: Sequence[float], **more: float | int | str) -> None:
    """A line of a benchmark."""
    p50, p99 = percentiles(waits)
    print_line(name, **more, p50_ms=p50, p99_ms=p99)


async def _timed(call: Call) -> float:
    begun = time.perf_counter()
    await call()
    return time.perf_counter() - begun
