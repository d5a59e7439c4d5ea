from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mahavishnu_operator.client import Client, command_spec
from mahavishnu_operator.client.door import Way
from mahavishnu_operator.mcp_gateway.gateway import Gateway, GatewayOptions
from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.embedded import EmbeddedResources
from mahavishnu_operator.resources.protocol import Key
from mahavishnu_operator.support.errors import InvalidInput

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


async def test_only_the_namespace_that_is_served_can_be_named(gateway: Gateway) -> None:
    assert gateway.key("p", what="pool_id") == POOL
    with pytest.raises(InvalidInput, match="serves namespace default alone"):
        gateway.key("other/p", what="pool_id")
