"""The embedded API on a port of loopback, in the test's own event loop, and kubectl as a client of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

DEADLINE = 30.0


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals are the test runner's


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[str]:
    """Serve the application; gives its URL. Close what its streams wait for before leaving."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, lifespan="off", log_level="warning", timeout_graceful_shutdown=5)
    server = _Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running
        listener.close()


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Kubectl:
    """kubectl with one kubeconfig and caches of its own."""

    binary: Path
    kubeconfig: Path
    folder: Path

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig),
            "KUBECACHEDIR": str(self.folder / "kubectl-cache"),
            "KUBECTL_KUBERC": "false",
        }

    async def start(self, *args: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            str(self.binary), *args, stdin=pipe, stdout=pipe, stderr=pipe, env=self.environment()
        )

    async def run(self, *args: str, manifest: Any = None, fails: bool = False) -> Done:
        """Run kubectl to its end; `manifest` is its standard input, as JSON."""
        process = await self.start(*args)
        try:
            async with asyncio.timeout(DEADLINE):
                given = b"" if manifest is None else json.dumps(manifest).encode()
                out, err = await process.communicate(given)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        done = Done(process.returncode or 0, out.decode(), err.decode())
        assert (done.code != 0) is fails, f"kubectl {' '.join(args)}: {done}"
        return done

    async def json(self, *args: str) -> Any:
        return json.loads((await self.run(*args, "-o", "json")).out)
