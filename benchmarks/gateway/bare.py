"""The floor: a FastMCP server with one tool that does nothing, served as ours is.

python -m benchmarks.gateway.bare    prints its address, and ends when its standard input does
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvloop
from fastmcp import FastMCP

from mahavishnu_operator.control.serving import listen, serve


async def nothing() -> dict[str, bool]:
    """Do nothing."""
    return {"success": True}


async def main() -> None:
    """Serve."""
    server: FastMCP = FastMCP("bare")
    server.tool(nothing)
    app = server.http_app(path="/mcp", stateless_http=True)
    listener = listen("127.0.0.1", 0)
    async with app.router.lifespan_context(app), serve(app, listener):
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        await asyncio.to_thread(sys.stdin.read)


@contextmanager
def bare_server() -> Iterator[str]:
    """The address of such a process."""
    command = [sys.executable, "-m", "benchmarks.gateway.bare"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate()


if __name__ == "__main__":
    uvloop.run(main())
