"""Clients nobody here wrote: the official Python client and FastMCP's, in both protocol eras, over HTTP and stdio."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastmcp import Client as FastClient
from fastmcp.client.transports import StdioTransport
from mcp import Client as OfficialClient
from mcp import StdioServerParameters
from mcp_types import CallToolResult

from mahavishnu_operator.client import Client
from mahavishnu_operator.client.jobs import Job
from mahavishnu_operator.resources.protocol import SCAN_JOB

from .cli_tools import MAHAVISHNU, Up, environment, running_up
from .gateway_tools import agent_of, job_of, serving_agents

MODERN, LEGACY = "2026-07-28", "legacy"
OLD_HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "a test", "version": "1"}}
INTERRUPTED = {"pool_id": "interrupted", "prompt": "sleep 2.5"}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with serving_agents(tmp_path_factory.mktemp("up")) as running:
        yield running


def stdio_arguments(up: Up) -> list[str]:
    return ["mcp", "start", "--transport", "stdio", "--server", up.url, "--workspace", str(up.data.parent)]


@pytest.mark.parametrize("mode", [MODERN, LEGACY])
@pytest.mark.parametrize("transport", ["http", "stdio"])
async def test_the_official_client_lists_calls_hears_progress_and_cancels(up: Up, transport: str, mode: str) -> None:
    stdio = StdioServerParameters(command=MAHAVISHNU, args=stdio_arguments(up), env=environment())
    heard: list[str | None] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(message)

    async with OfficialClient(f"{up.url}/mcp" if transport == "http" else stdio, mode=mode) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert {"pool_spawn", "pool_execute", "scan_submit"} <= names
        name = f"official-{transport}-{'new' if mode == MODERN else 'old'}"
        spawned = shape_of(
            await client.call_tool(
                "pool_spawn", {"name": name, "worker_type": "command", "max_workers": 1}, progress_callback=hear
            )
        )
        assert spawned["pool_id"] == f"default/{name}"
        assert heard
        ran = shape_of(await client.call_tool("pool_execute", {"pool_id": name, "prompt": "echo hi"}))
        assert (ran["success"], ran["output"]) == (True, "hi\n")
        refused = await client.call_tool("pool_execute", {"pool_id": name})
        assert refused.is_error
        async with Client.connect(up.url) as ours:
            leaving = asyncio.create_task(client.call_tool("pool_execute", {"pool_id": name, "prompt": "sleep 60"}))
            job = await job_running(ours)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            assert (await ours.jobs.wait(job, timeout=30)).phase.value == "Cancelled"
        assert shape_of(await client.call_tool("pool_close", {"pool_id": name}))["status"] == "closed"


async def test_fastmcps_client_starts_the_gateway_by_itself(up: Up) -> None:
    transport = StdioTransport(MAHAVISHNU, stdio_arguments(up), env=environment(), keep_alive=False)
    async with FastClient(transport) as client:
        answer = await client.call_tool("get_readiness", {})
        assert answer.structured_content is not None
        assert answer.structured_content["ready"] is True


def shape_of(answer: CallToolResult) -> dict[str, Any]:
    assert not answer.is_error, answer
    shape: dict[str, Any] | None = answer.structured_content
    assert shape is not None
    return shape


async def job_running(client: Client) -> Job:
    """The one job whose command runs."""
    async with asyncio.timeout(30):
        while True:
            for job in await client.jobs.list():
                if int(job.tasks.get("running", 0)):
                    return job
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("mode", [MODERN, LEGACY])
async def test_a_client_that_cancels_its_call_and_stays_takes_its_work_with_it(up: Up, mode: str) -> None:
    async with Client.connect(up.url) as client, agent_of(up.url, mode=mode) as agent:
        await client.pools.spawn("leaving", max_workers=1)
        call = asyncio.create_task(agent.call("pool_execute", pool_id="leaving", prompt="sleep 60"))
        job = await job_running(client)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert (await client.jobs.wait(job, timeout=30)).phase.value == "Cancelled"
        assert (await agent.call("get_readiness"))["ready"] is True


async def test_an_old_client_that_goes_away_takes_its_work_with_it(up: Up) -> None:
    async with Client.connect(up.url) as client:
        await client.pools.spawn("leaving", max_workers=1)
        async with agent_of(up.url, mode=LEGACY) as agent:
            call = asyncio.create_task(agent.call("pool_execute", pool_id="leaving", prompt="sleep 60"))
            job = await job_running(client)
        await asyncio.gather(call, return_exceptions=True)
        assert (await client.jobs.wait(job, timeout=30)).phase.value == "Cancelled"


async def test_a_connection_that_breaks_ends_work_that_was_waited_for_and_no_other(up: Up) -> None:
    async with Client.connect(up.url) as client, agent_of(up.url) as agent:
        await client.pools.spawn("broken", max_workers=1)
        dispatched = await agent.call("dispatch_to_pool", prompt="sleep 2", workflow_id="detached")
        assert dispatched["success"]
        detached = await job_running(client)
        watching = begin_call(up, "scan_wait", {"job_id": str(detached.key)})
        waiting = begin_call(up, "pool_execute", {"pool_id": "broken", "prompt": "sleep 61"})
        waited_for = await job_of(client, "sleep", "61")
        for connection in (watching, waiting):
            connection.close()
        assert (await client.jobs.wait(waited_for, timeout=30)).phase.value == "Cancelled"
        assert (await client.jobs.wait(detached, timeout=30)).phase.value == "Succeeded"


def begin_call(up: Up, tool: str, arguments: dict[str, Any]) -> socket.socket:
    """A connection over which a tool was called; nobody reads the answer."""
    body = json.dumps(
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    )
    parts = urlsplit(up.url)
    connection = socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=20)
    head = [
        "POST /mcp HTTP/1.1",
        f"Host: {parts.netloc}",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        "MCP-Protocol-Version: 2025-06-18",
        f"Content-Length: {len(body)}",
    ]
    connection.sendall("\r\n".join([*head, "", body]).encode())
    return connection


@pytest.mark.parametrize(
    ("interrupt", "code", "phase"),
    [(True, -signal.SIGINT, "Succeeded"), (False, 0, "Cancelled")],
    ids=["SIGINT", "EOF"],
)
async def test_on_stdio_a_gateway_that_is_interrupted_cancels_nothing_and_a_client_that_leaves_does(
    up: Up, interrupt: bool, code: int, phase: str
) -> None:
    first, second = ("initialize", OLD_HELLO), ("tools/call", {"name": "pool_execute", "arguments": INTERRUPTED})
    calls = [
        json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        for number, (method, params) in enumerate((first, second))
    ]
    async with Client.connect(up.url) as client:
        await client.pools.spawn("interrupted", max_workers=1)
        command = [MAHAVISHNU, *stdio_arguments(up)]
        with subprocess.Popen(command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            assert process.stdin is not None
            process.stdin.write("".join(f"{call}\n" for call in calls).encode())
            process.stdin.flush()
            job = await job_of(client, "sleep", "2.5")
            if interrupt:
                process.send_signal(signal.SIGINT)
            else:
                process.stdin.close()
            assert await asyncio.to_thread(process.wait, 30) == code
        assert (await client.jobs.wait(job, timeout=30)).phase.value == phase
        await client.resources.delete(SCAN_JOB, job.key)


async def test_a_gateway_that_stops_cancels_nothing(tmp_path: Path) -> None:
    with running_up(tmp_path / "data") as first:
        async with Client.connect(first.url) as client, agent_of(first.url) as agent:
            await client.pools.spawn("staying", max_workers=1)
            call = asyncio.create_task(agent.call("pool_execute", pool_id="staying", prompt="sleep 1.5"))
            job = await job_running(client)
            first.process.terminate()
            await asyncio.gather(call, return_exceptions=True)
            await asyncio.to_thread(first.process.wait, 30)
    with running_up(tmp_path / "data") as second:
        async with Client.connect(second.url) as client:
            ended = await client.jobs.wait(job.key, timeout=60)
            assert (ended.uid, ended.phase.value) == (job.uid, "Succeeded")
