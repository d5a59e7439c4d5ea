"""The health surface that a baseline check of MCP servers reads, and the list of tools."""

from __future__ import annotations

from typing import Annotated

from fastmcp import FastMCP
from pydantic import Field

from mahavishnu_operator import __version__
from mahavishnu_operator.client import Client
from mahavishnu_operator.client.ids import shown
from mahavishnu_operator.mcp_gateway.answering import READS, add
from mahavishnu_operator.mcp_gateway.answers import AllHealth, Liveness, Readiness, ServiceHealth, ToolLines
from mahavishnu_operator.mcp_gateway.arguments import Words
from mahavishnu_operator.mcp_gateway.gateway import Gateway
from mahavishnu_operator.mcp_gateway.schemas import answer_of
from mahavishnu_operator.mcp_gateway.shapes import Shape, failure, sentence
from mahavishnu_operator.support.errors import InvalidInput, MahavishnuError

SERVICE = "mahavishnu"
SERVICES = ("gateway", "resources")


def register(server: FastMCP, gateway: Gateway) -> None:
    """Put the tools on a server."""
    tools = HealthTools(server, gateway)
    add(server, tools.discover_tools, READS, answer_of(ToolLines))
    add(server, tools.get_liveness, READS, answer_of(Liveness))
    add(server, tools.get_readiness, READS, answer_of(Readiness))
    add(server, tools.health_check_all, READS, answer_of(AllHealth))
    add(server, tools.health_check_service, READS, answer_of(ServiceHealth))


async def resources_problem(client: Client, scope: str | None) -> str:
    """Why that client cannot list pools now, in words; empty: it can."""
    try:
        await client.pools.list(namespace=scope)
    except MahavishnuError as error:
        return sentence(str(error))
    return ""


class HealthTools:
    """The tools, by the names that clients call."""

    def __init__(self, server: FastMCP, gateway: Gateway) -> None:
        self._server, self._gateway = server, gateway

    async def discover_tools(
        self, query: Annotated[Words | None, Field(description="Only tools with this word; left out: all.")] = None
    ) -> Shape:
        """List the tools of this server with a line about each."""
        tools = [
            {"name": tool.name, "description": (tool.description or "").strip().partition("\n")[0]}
            for tool in await self._server.list_tools()
        ]
        word = (query or "").lower()
        found = [tool for tool in tools if word in f"{tool['name']} {tool['description']}".lower()]
        return {"tools": found, "count": len(found)}

    async def get_liveness(self) -> Shape:
        """Say that this server answers."""
        return {"status": "ok", "alive": True, "service": SERVICE, "version": __version__}

    async def get_readiness(self) -> Shape:
        """Say whether pools and jobs can be read now."""
        problem = await resources_problem(self._gateway.client, self._gateway.scope)
        if problem:
            return {**failure(problem, status="not_ready"), "ready": False, "service": SERVICE}
        return {"status": "ready", "ready": True, "service": SERVICE, "version": __version__}

    async def health_check_all(self) -> Shape:
        """Check every part that this server stands on."""
        services = {name: await self._check(name) for name in SERVICES}
        well = all(service["status"] == "healthy" for service in services.values())
        return {"status": "healthy" if well else "unhealthy", "services": services}

    async def health_check_service(
        self, service_name: Annotated[Words, Field(description="gateway or resources.")]
    ) -> Shape:
        """Check one part: gateway (this server) or resources (where pools and jobs are kept)."""
        if service_name not in SERVICES:
            raise InvalidInput(f"service {shown(service_name)} is not known", hint=f"one of {', '.join(SERVICES)}")
        return {"service": service_name, **await self._check(service_name)}

    async def _check(self, name: str) -> Shape:
        problem = await resources_problem(self._gateway.client, self._gateway.scope) if name == "resources" else ""
        return {"status": "unhealthy", "error": problem} if problem else {"status": "healthy"}
