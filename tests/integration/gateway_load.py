"""Agents that call all at once, each answer checked, and what a server has taken before and after.

Bounded in time and in calls, and to loopback. What is called is what agents do most: commands, each with an answer of
its own, that go through WorkerPool, ScanJob, worker and results; and reads between them.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

import psutil

from mahavishnu_operator.client import Client
from mahavishnu_operator.resources.protocol import SCAN_JOB
from mahavishnu_operator.support.errors import NotFound

from .gateway_tools import Agent, agent_of

POOL = "loaded"
ERAS = ("2026-07-28", "legacy")
REST_SECONDS = 60.0  # connections that are kept for the next call are closed by then
A_FEW = 5  # workers and watches ask anew now and then: a connection and a task more or less at any moment
TASKS = re.compile(r"^mahavishnu_event_loop_tasks (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Footprint:
    """What a server process has taken."""

    tasks: int  # of its event loop
    sockets: int
    files: int  # descriptors, sockets among them
    memory: int  # bytes that are resident

    @classmethod
    def of(cls, pid: int, url: str) -> Footprint:
        """As it stands; asking is one call more, which is always the same."""
        with urllib.request.urlopen(f"{url}/metrics", timeout=20) as answer:
            found = TASKS.search(answer.read().decode())
        assert found is not None
        process = psutil.Process(pid)
        with process.oneshot():
            sockets = sum(each.status != psutil.CONN_LISTEN for each in process.net_connections())
            memory = process.memory_info().rss
            return cls(int(float(found.group(1))), sockets, process.num_fds(), memory)

    def is_like(self, other: Footprint) -> bool:
        """Nothing but memory, which is compared by whom it concerns, is more than it was there, but for a few."""
        mine, its = ((each.tasks, each.sockets, each.files) for each in (self, other))
        return all(now <= then + A_FEW for now, then in zip(mine, its, strict=True))


async def at_rest(pid: int, url: str, *, like: Footprint) -> Footprint:
    """The footprint once it is like another one. AssertionError: it stays above."""
    deadline = time.monotonic() + REST_SECONDS
    while not (now := await asyncio.to_thread(Footprint.of, pid, url)).is_like(like):
        assert time.monotonic() < deadline, f"{now} instead of {like}"
        await asyncio.sleep(0.2)
    return now


class Load:
    """Clients of gateways, each with some callers; `calls` is the most that all of them make together."""

    def __init__(self, agents: Sequence[Agent], *, calls: int, seconds: float) -> None:
        self._agents, self._most = agents, calls
        self._end = time.monotonic() + seconds
        self._numbers = itertools.count()
        self.made: Counter[str] = Counter()

    async def run(self, *, callers: int) -> Counter[str]:
        """All callers of all clients at once, to the end; how often each tool was called."""
        await asyncio.gather(*(self._call_on(agent) for agent in self._agents for _ in range(callers)))
        return self.made

    async def _call_on(self, agent: Agent) -> None:
        works = (self._command, self._workflow, self._route, self._read_on)
        turns = [turn for work in works for turn in (work, self._pools, self._measures)]
        while time.monotonic() < self._end and self.made.total() < self._most:
            number = next(self._numbers)
            await turns[number % len(turns)](agent, number)

    async def _made(self, agent: Agent, tool: str, **arguments: object) -> dict[str, object]:
        self.made[tool] += 1
        shape: dict[str, object] = await agent.call(tool, **arguments)
        return shape

    async def _command(self, agent: Agent, number: int) -> None:
        ran = await self._made(agent, "pool_execute", pool_id=POOL, prompt=f"echo {number}")
        assert (ran["success"], ran["output"]) == (True, f"{number}\n"), ran

    async def _route(self, agent: Agent, number: int) -> None:
        ran = await self._made(agent, "pool_route_execute", prompt=f"echo {number}")
        assert (ran["success"], ran["output"]) == (True, f"{number}\n"), ran

    async def _read_on(self, agent: Agent, number: int) -> None:
        ran = await self._made(agent, "pool_execute", pool_id=POOL, prompt=f"echo more {number}")
        page = await self._made(agent, "task_output", task_id=ran["task_id"], offset=5)
        assert page["output"] == f"{number}\n", page

    async def _workflow(self, agent: Agent, number: int) -> None:
        asked = await self._made(agent, "dispatch_to_pool", prompt=f"echo {number}")
        assert asked["status"] == "queued", asked
        result = await self._made(agent, "workflow_result", workflow_id=asked["workflow_id"])
        assert result["status"] in ("queued", "running", "completed"), result

    async def _pools(self, agent: Agent, number: int) -> None:
        assert POOL in str(await self._made(agent, "pool_list"))

    async def _measures(self, agent: Agent, number: int) -> None:
        measures = await self._made(agent, "pool_monitor", pool_id=POOL)
        assert measures["status"] in ("running", "scaling"), measures


async def put_load(urls: Sequence[str], *, clients: int, callers: int, calls: int, seconds: float) -> Counter[str]:
    """That many clients of these gateways in turn, old and new ones, with that many callers each."""
    async with AsyncExitStack() as stack:
        agents = [
            await stack.enter_async_context(agent_of(urls[number % len(urls)], mode=ERAS[number // len(urls) % 2]))
            for number in range(clients)
        ]
        for agent in agents:
            await agent.client.list_tools()  # once, as agents do: or each first call asks for what answers look like
        await agents[0].call("pool_spawn", name=POOL, worker_type="command", min_workers=2, max_workers=2)
        return await Load(agents, calls=calls, seconds=seconds).run(callers=callers)


async def forget_jobs(url: str) -> int:
    """Delete all jobs, as their time to live does later; how many there were."""
    async with Client.connect(url) as client:
        jobs = await client.jobs.list()
        for job in jobs:
            with suppress(NotFound):  # its time was over meanwhile
                await client.resources.delete(SCAN_JOB, job.key)
        return len(jobs)
