"""mcp status and health: whether a gateway answers at an address, and whether it can do its work."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Annotated, Any

import typer

from mahavishnu_operator.support.errors import MahavishnuError, NotFound

from .exits import ExitCode
from .output import OutputFormat, as_page, show
from .placing import OutputOption

UrlOption = Annotated[
    str | None,
    typer.Option("--url", "-u", metavar="URL", help="Where it serves.  [env: MAHAVISHNU_URL]", show_default=False),
]
SECONDS = 10.0


def status(url: UrlOption = None, output: OutputOption = OutputFormat.TABLE) -> None:
    """Say which gateway answers: its address and version. Exit codes: 0 one does; 1 agents are not served; 4 nobody."""
    address, answer = ask(url, "/health")
    try:
        said = json.loads(answer)
    except ValueError:
        raise MahavishnuError(f"what answers at {address} is no gateway", hint="name its address with --url") from None
    value = {"url": f"{address}/mcp", **{name: str(said.get(name, "")) for name in ("status", "service", "version")}}
    show(value, output, as_page([(name.capitalize(), text) for name, text in value.items()]))


def health(url: UrlOption = None, output: OutputOption = OutputFormat.TABLE) -> None:
    """Say whether the gateway can do its work. Exit codes: 0 it can; 1 it cannot, and why; 4 nobody answers."""
    problem = ""
    address, _ = ask(url, "/health")
    try:
        ask(url, "/readyz")
    except MahavishnuError as error:
        problem = error.message
    value: dict[str, Any] = {"url": f"{address}/mcp", "status": "unhealthy" if problem else "healthy", "error": problem}
    show(value, output, f"{value['status']}: {problem}" if problem else value["status"])
    sys.exit(ExitCode.FINDINGS if problem else ExitCode.OK)


def ask(url: str | None, path: str) -> tuple[str, bytes]:
    """The address that was asked, and the answer. NotFound: agents are not served there."""
    from mahavishnu_operator.resources.connection import Connection
    from mahavishnu_operator.resources.http import ApiSession

    from .settings import load_settings

    address = (url or load_settings().url).rstrip("/").removesuffix("/mcp")
    connection = Connection.from_url(address)

    async def fetch() -> bytes:
        session = ApiSession(connection, timeout=SECONDS)
        try:
            return await session.fetch(path)
        finally:
            await session.close()

    try:
        return address, asyncio.run(fetch())
    except NotFound:
        raise NotFound(
            f"{address} serves no agents", hint="is it a `mahavishnu up --no-mcp`, or without the gateway's library?"
        ) from None
