"""Whatever a tool is called with, the answer is a shape and a sentence: arguments are drawn from its own schema.

There is no pool, and none can be made by what is drawn, so that nothing waits for work to be done.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client as McpClient
from hypothesis import given, settings
from hypothesis import strategies as st

from mahavishnu_operator.client import Client
from mahavishnu_operator.client.door import Way
from mahavishnu_operator.mcp_gateway.gateway import Gateway, GatewayOptions
from mahavishnu_operator.mcp_gateway.server import make_server
from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.embedded import EmbeddedResources

STARTS_NOTHING: dict[str, dict[str, Any]] = {
    "pool_spawn": {"worker_type": "no such type"},
    "worker_spawn": {"worker_type": "no such type"},
    "pool_route_execute": {"auto_spawn": False},
}
IDS = ["gone", "default/gone", "other/p", "../p", "a/b/c", "", "ä", "p\n", "x" * 300]
TEXTS = st.one_of(st.sampled_from([*IDS, "Execute: true", "echo 'open", "x" * 70_000, "\ud800"]), st.text(max_size=20))
NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from([0, -1, 1, 10**30]))
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


def fitting(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that the schema of one argument allows, or nearly."""
    if "anyOf" in schema:
        return st.one_of(*map(fitting, schema["anyOf"]))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    least, most = schema.get("minimum"), schema.get("maximum")
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "null": st.none(),
        "boolean": st.booleans(),
        "integer": st.integers(least, most),
        "number": st.floats(least, most, allow_nan=False),
        "string": TEXTS,
        "object": st.dictionaries(st.text(max_size=5), TEXTS, max_size=3),
    }
    if schema.get("type") == "array":
        return st.lists(fitting(schema.get("items", {})), max_size=3)
    return kinds.get(schema.get("type", ""), ANYTHING)


@st.composite
def arguments_of(draw: st.DrawFn, name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Arguments that fit a tool, but in every other call for one: it is missing, of another kind, or unknown."""
    properties, required = schema.get("properties", {}), schema.get("required", [])
    wanted = [argument for argument in sorted(properties) if argument in required or draw(st.booleans())]
    arguments = {argument: draw(fitting(properties[argument])) for argument in wanted}
    if draw(st.booleans()):
        spoiled = draw(st.sampled_from([*sorted(properties), "unknown"]))
        arguments[spoiled] = draw(ANYTHING)
        if draw(st.booleans()):
            del arguments[spoiled]
    return {**arguments, **STARTS_NOTHING.get(name, {})}


@asynccontextmanager
async def connected(folder: Path) -> AsyncIterator[McpClient[Any]]:
    resources = EmbeddedResources(folder / "objects.db")
    way, options = Way(Connection.from_url("http://127.0.0.1:9"), embedded=True), GatewayOptions(workspace=folder)
    async with Client(resources, way) as client, McpClient(make_server(Gateway(client, options))) as agent:
        yield agent
    await resources.close()


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


@pytest.fixture(scope="module")
def agent(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[McpClient[Any]]:
    context = connected(tmp_path_factory.mktemp("gateway"))
    yield runner.run(context.__aenter__())
    runner.run(context.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def tools(runner: asyncio.Runner, agent: McpClient[Any]) -> dict[str, dict[str, Any]]:
    return {tool.name: tool.input_schema for tool in runner.run(agent.list_tools())}


def test_any_call_is_answered_by_a_shape_and_a_sentence(
    runner: asyncio.Runner, agent: McpClient[Any], tools: dict[str, dict[str, Any]]
) -> None:
    for name, schema in tools.items():
        call_with_any_arguments(runner, agent, name, schema)


def call_with_any_arguments(runner: asyncio.Runner, agent: McpClient[Any], name: str, schema: dict[str, Any]) -> None:
    @settings(max_examples=8)
    @given(arguments_of(name, schema))
    def answered(arguments: dict[str, Any]) -> None:
        runner.run(check_call(agent, name, arguments))

    answered()


async def check_call(agent: McpClient[Any], name: str, arguments: dict[str, Any]) -> None:
    """One call, and what must be true of its answer."""
    answer = await asyncio.wait_for(agent.call_tool(name, arguments, raise_on_error=False), 20)
    shape = answer.structured_content
    assert isinstance(shape, dict), answer  # and one that the tool's schema allows, as the client checks
    if answer.is_error or shape.get("success") is False:
        words = shape["error"]
        assert 0 < len(words) <= 1000
        assert words.isprintable()
        assert "Traceback" not in words
        assert "the gateway failed to answer" not in words
