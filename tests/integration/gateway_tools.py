"""What tests of the gateway start from: a real `mahavishnu up`, and FastMCP's client on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from fastmcp import Client

from mahavishnu_operator.client import Client as PoolClient
from mahavishnu_operator.client import Job

from .cli_tools import Up, running_up


@contextmanager
def serving_agents(folder: Path, *, pool: str = "p", allow: tuple[str, ...] = ()) -> Iterator[Up]:
    """`mahavishnu up` with a workspace that has two files in it, and a pool of one worker."""
    workspace = folder / "workspace"
    workspace.mkdir()
    (workspace / "clean.py").write_text('"""Clean."""\n')
    (workspace / "dirty.py").write_text("import os\n")
    options = [option for name in allow for option in ("--allow", name)]
    with running_up(folder / "data", "--workspace", str(workspace), *options) as up:
        yield up


class Agent:
    """An MCP client that answers what the server said: the shape, and whether it was an error."""

    def __init__(self, client: Client[Any]) -> None:
        self.client = client

    async def call(self, tool: str, **arguments: Any) -> Any:
        """The shape that a tool answers; a list as a list. AssertionError: it was an error of the protocol."""
        answer = await self.client.call_tool(tool, arguments, raise_on_error=False)
        assert not answer.is_error, answer
        shape = answer.structured_content
        assert shape is not None
        return shape["result"] if set(shape) == {"result"} else shape

    async def refused(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The shape of what is a failure, as an error of the protocol or not."""
        answer = await self.client.call_tool(tool, arguments, raise_on_error=False)
        shape = answer.structured_content
        assert shape is not None
        return shape


@asynccontextmanager
async def agent_of(url: str, **options: Any) -> AsyncIterator[Agent]:
    """A connected agent."""
    async with Client(f"{url}/mcp", **options) as client:
        yield Agent(client)


async def job_of(client: PoolClient, *command: str) -> Job:
    """The job with that command."""
    async with asyncio.timeout(30):
        while True:
            for job in await client.jobs.list():
                if job.obj["spec"]["tasks"][0]["command"] == list(command):
                    return job
            await asyncio.sleep(0.05)
