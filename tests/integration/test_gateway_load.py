"""Many calls at once of many clients: no error, each answer its own, and nothing is kept of them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from mahavishnu_operator.client import Client

from .cli_tools import Up, running_up
from .gateway_load import POOL, Footprint, at_rest, forget_jobs, put_load
from .gateway_tools import Agent, agent_of
from .test_mcp_start import gateway_process

CLIENTS, CALLERS = 20, 10
ARENAS_BYTES, A_CALL_BYTES = 8 * 1024 * 1024, 4096
"""Memory that a process may have more, and that a call may cost for good on average: what is kept of one by mistake (a
request, a session, a task, the object that was waited for) is tens of kilobytes, and less than this cannot be told from
how an allocator fills its arenas."""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("load")
    (folder / "workspace").mkdir()
    with running_up(folder / "data", "--workspace", str(folder / "workspace")) as running:
        yield running


@pytest.mark.timeout(300)
async def test_fifty_calls_at_once_are_answered_and_leave_nothing_behind(up: Up) -> None:
    (before,) = await begun(((up.process.pid, up.url),))
    made = await put_load([up.url], clients=5, callers=10, calls=150, seconds=180)
    assert made.total() >= 150
    await at_rest(up.process.pid, up.url, like=before)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_minute_of_it_leaves_two_servers_as_they_were(up: Up, tmp_path: Path) -> None:
    with gateway_process(up, tmp_path) as (url, process):
        servers = ((up.process.pid, up.url), (process.pid, url))
        before = await begun(servers)
        most = await load_for(servers, seconds=60)
        warm = [await at_rest(*server, like=then) for server, then in zip(servers, before, strict=True)]
        calls = await load_for(servers, seconds=60, most=most)  # no more jobs at once, or more memory is no leak
        for server, then, loaded in zip(servers, before, warm, strict=True):
            now = await at_rest(*server, like=then)
            assert now.memory - loaded.memory < ARENAS_BYTES + A_CALL_BYTES * calls, (loaded, now, calls)


async def begun(servers: tuple[tuple[int, str], ...]) -> list[Footprint]:
    """What the servers have taken that have a pool, and have answered a few calls: what is opened once for all is."""
    await put_load([url for _, url in servers], clients=2, callers=1, calls=12, seconds=60)
    return [await asyncio.to_thread(Footprint.of, *server) for server in servers]


async def load_for(servers: tuple[tuple[int, str], ...], *, seconds: float, most: int = 10_000) -> int:
    """All clients on both servers for so long, and nothing is left of the jobs; how many calls were made."""
    made = await put_load([url for _, url in servers], clients=CLIENTS, callers=CALLERS, calls=most, seconds=seconds)
    assert await forget_jobs(servers[0][1]) > 0
    return made.total()


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_gateway_that_is_killed_in_the_middle_takes_no_work_with_it(up: Up, tmp_path: Path) -> None:
    with gateway_process(up, tmp_path) as (dying_url, dying), gateway_process(up, tmp_path) as (other_url, _):
        async with agent_of(other_url) as other, Client.connect(up.url) as client:
            await other.call("pool_spawn", name=POOL, worker_type="command", min_workers=2, max_workers=2)
            before = {job.key for job in await client.jobs.list()}
            with suppress(httpx2.HTTPError):  # which a client says of its connections when it is closed, too
                async with agent_of(dying_url) as agent:
                    calling, dispatched = calls_without_end(agent)
                    while len(dispatched) < CLIENTS:
                        await asyncio.wait(calling, timeout=0.1)
                    dying.kill()
                    await asyncio.gather(*calling, return_exceptions=True)
            jobs = [job for job in await client.jobs.list() if job.key not in before]
            assert not all(job.ended for job in jobs)
            for job in jobs:
                assert (await other.call("scan_wait", job_id=str(job.key), timeout=60))["status"] == "succeeded"
            for name in dispatched:
                told = await other.call("workflow_result", workflow_id=name)
                assert (told["status"], told["result"]["output"]) == ("completed", f"{name}\n")


def calls_without_end(agent: Agent) -> tuple[list[asyncio.Task[None]], list[str]]:
    """Callers that run commands of a second, and others that dispatch; and what was dispatched so far."""
    dispatched: list[str] = []
    numbers = itertools.count()

    async def dispatch() -> None:
        while True:
            name = f"killed-{next(numbers)}"
            await agent.call("dispatch_to_pool", prompt=f"echo {name}", workflow_id=name)
            dispatched.append(name)

    async def execute() -> None:
        while True:
            await agent.call("pool_execute", pool_id=POOL, prompt="sleep 1")

    return [asyncio.create_task(each()) for each in (dispatch, execute) for _ in range(CALLERS)], dispatched
