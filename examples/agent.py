"""An agent without a model: drives a gateway as one would, and prints each call and what was answered.

    mahavishnu up --workspace PROJECT &
    python examples/agent.py [URL]          # http://127.0.0.1:8680/mcp by default

It spawns a pool, runs one command on it, scans the workspace, reads the report and closes the pool. Exit code 1: a call
was refused, and its answer says why. It needs `pip install fastmcp` alone.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from fastmcp import Client

URL = "http://127.0.0.1:8680/mcp"


class Agent:
    """Makes calls one after another and prints them."""

    def __init__(self, client: Client[Any]) -> None:
        self._client = client

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """What the tool answers. SystemExit: it was refused."""
        given = ", ".join(f"{name}={json.dumps(value)}" for name, value in arguments.items())
        print(f"> {tool}({given})", flush=True)
        result = await self._client.call_tool(tool, arguments, raise_on_error=False)
        answer: dict[str, Any] = result.structured_content or {}
        for name, value in answer.items():
            print(f"  {name}: {json.dumps(value)}", flush=True)
        if result.is_error or answer.get("success") is False:
            raise SystemExit(1)
        return answer


async def main(url: str) -> None:
    """Work through it."""
    counting = "Execute: ruff check --statistics --exit-zero"
    async with Client(url) as client:
        agent = Agent(client)
        pool = await agent.call("pool_spawn", name="scanners", worker_type="command", max_workers=2)
        await agent.call("pool_execute", pool_id=pool["pool_id"], prompt=counting)
        scan = await agent.call("scan_submit", path=".", pool_id=pool["pool_id"])
        await agent.call("scan_wait", job_id=scan["job_id"])
        await agent.call("scan_report", job_id=scan["job_id"])
        await agent.call("pool_close", pool_id=pool["pool_id"])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else URL))
