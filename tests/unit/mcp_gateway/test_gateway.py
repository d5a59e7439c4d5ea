from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastmcp import Client as McpClient
from mcp.shared.exceptions import MCPError

from mahavishnu_operator import __version__
from mahavishnu_operator.client import Client, command_spec
from mahavishnu_operator.client.door import Way
from mahavishnu_operator.mcp_gateway.gateway import Gateway, GatewayOptions
from mahavishnu_operator.mcp_gateway.limiting import Rate
from mahavishnu_operator.mcp_gateway.server import make_server
from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.embedded import EmbeddedResources
from mahavishnu_operator.resources.protocol import Key
from mahavishnu_operator.support.errors import InvalidInput
from mahavishnu_operator.support.logs import configure_logging

POOL = Key("default", "p")


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    resources = EmbeddedResources(tmp_path / "objects.db")
    async with Client(resources, Way(Connection.from_url("http://127.0.0.1:9"), embedded=True)) as client:
        yield Gateway(client, GatewayOptions(workspace=tmp_path))
    await resources.close()


async def test_a_job_whose_caller_left_before_it_was_there_is_cancelled(gateway: Gateway) -> None:
    submitting = asyncio.create_task(gateway.client.jobs.submit(command_spec(["true"], pool=POOL), name="j"))
    gateway.abandon(submitting)
    await gateway.stop()
    assert (await gateway.client.jobs.get(Key("default", "j"))).obj["spec"]["cancel"] is True


async def test_a_gateway_that_stops_cancels_nothing(gateway: Gateway) -> None:
    submitting = asyncio.create_task(gateway.client.jobs.submit(command_spec(["true"], pool=POOL), name="j"))
    await gateway.stop()
    gateway.abandon(submitting)
    await submitting
    assert (await gateway.client.jobs.get(Key("default", "j"))).obj["spec"].get("cancel") in (None, False)


async def test_who_calls_too_often_is_told_when_to_come_again(gateway: Gateway) -> None:
    slow = Gateway(gateway.client, GatewayOptions(rate=Rate(burst=1, per_second=0.1)))
    async with McpClient(make_server(slow)) as client:
        assert (await client.call_tool("get_liveness")).structured_content == {
            "status": "ok",
            "alive": True,
            "service": "mahavishnu",
            "version": __version__,
        }
        shape = (await client.call_tool("pool_execute", {"pool_id": "p", "prompt": "true"})).structured_content
        assert shape is not None
        assert (shape["pool_id"], shape["status"], shape["success"]) == ("p", "rate_limited", False)
        assert 9 < shape["retry_after_seconds"] <= 10
        listed = await client.call_tool("pool_list", raise_on_error=False)
        assert (listed.is_error, (listed.structured_content or {})["status"]) == (True, "rate_limited")
        with pytest.raises(MCPError, match="too many calls at once"):
            await client.read_resource("mahavishnu://pools")


async def test_each_call_is_one_line_whatever_came_of_it(gateway: Gateway, capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="error", json=True)
    async with McpClient(make_server(gateway)) as client:
        await client.call_tool("pool_monitor", {"pool_id": "gone"})
        await client.call_tool("pool_execute", {"pool_id": "gone", "prompt": "Execute: login hunter2"})
        await client.call_tool("pool_execute", {"pool_id": "gone", "token": "hunter2"}, raise_on_error=False)
        await client.call_tool("no_such_tool", {"key": "hunter2"}, raise_on_error=False)
        await client.read_resource("mahavishnu://pools")
    text = capfd.readouterr().err
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert [(line["tool"], line["object"], line["outcome"], line["status"]) for line in lines] == [
        ("pool_monitor", "gone", "answered", "not_found"),
        ("pool_execute", "gone", "failed", "failed"),
        ("pool_execute", "gone", "refused", "failed"),
        ("no_such_tool", "", "unknown", "failed"),
        ("resources/read", "mahavishnu://pools", "answered", ""),
    ]
    assert {(line["event"], line["caller"]) for line in lines} == {("tool call", gateway.client.created_by)}
    assert "hunter2" not in text


async def test_only_the_namespace_that_is_served_can_be_named(gateway: Gateway) -> None:
    assert gateway.key("p", what="pool_id") == POOL
    with pytest.raises(InvalidInput, match="serves namespace default alone"):
        gateway.key("other/p", what="pool_id")
