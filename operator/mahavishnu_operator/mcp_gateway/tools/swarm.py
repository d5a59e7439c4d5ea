"""The swarm that published clients ask for: what works now, and in words that nothing fixes code by itself yet."""

from __future__ import annotations

from typing import Annotated

from fastmcp import FastMCP
from pydantic import Field

from mahavishnu_operator.mcp_gateway.answering import READS, RUNS, add
from mahavishnu_operator.mcp_gateway.answers import Autofix, SwarmStatus
from mahavishnu_operator.mcp_gateway.arguments import Seconds, Words
from mahavishnu_operator.mcp_gateway.gateway import Gateway
from mahavishnu_operator.mcp_gateway.schemas import answer_of
from mahavishnu_operator.mcp_gateway.shapes import Shape, failure

NO_FIXERS = (
    "this version has no AI workers, so nothing is fixed by itself and no file was changed "
    "(scan_submit finds what is wrong; a fixer that you name runs by pool_execute, where its command is allowed)"
)


def register(server: FastMCP, gateway: Gateway) -> None:
    """Put the tools on a server."""
    tools = SwarmTools(gateway)
    add(server, tools.swarm_autofix, RUNS, answer_of(Autofix))
    add(server, tools.swarm_status, READS, answer_of(SwarmStatus))


class SwarmTools:
    """The tools, by the names that clients call."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def swarm_autofix(
        self,
        issue_types: Annotated[list[Words] | Words | None, Field(description="Which kinds of findings to fix.")] = None,
        max_workers: Annotated[int, Field(ge=1, le=50, description="Workers at most.")] = 4,
        files: Annotated[list[str] | None, Field(max_length=10_000, description="Only these files.")] = None,
        timeout: Annotated[Seconds, Field(description="Seconds until it is stopped.")] = 300.0,
    ) -> Shape:
        """Fix findings by AI workers. Not there in this version: it always answers failed, and changes nothing."""
        return {**failure(NO_FIXERS), "fixes_applied": 0, "files_modified": []}

    async def swarm_status(self) -> Shape:
        """Say how much is going on in all pools together: workers, and tasks that wait, run and are done."""
        pools = await self._gateway.client.pools.list(namespace=self._gateway.scope)
        running = sum(pool.running_tasks for pool in pools)
        pending = sum(pool.pending_tasks for pool in pools)
        return {
            "status": "running" if running or pending else "idle",
            "success": True,
            "pools_active": len(pools),
            "workers_active": sum(pool.ready for pool in pools),
            "workers_busy": sum(pool.busy for pool in pools),
            "pending_tasks": pending,
            "running_tasks": running,
            "completed_tasks": sum(pool.completed for pool in pools),
            "failed_tasks": sum(pool.failed for pool in pools),
            "autofix_available": False,
        }
