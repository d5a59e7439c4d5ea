"""What an engine serves over HTTP beside the kinds (results for readers, health, metrics), and how.

The server runs inside a running event loop: signals belong to whoever runs that loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path

import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from mahavishnu_operator.dispatch.results_api import results_app
from mahavishnu_operator.dispatch.service import DispatchService
from mahavishnu_operator.dispatch.visitors import VISITS
from mahavishnu_operator.support.errors import InvalidInput
from mahavishnu_operator.support.http_heads import BoundedHttp

from .engine import Engine

log = structlog.get_logger(__name__)

IDLE_SECONDS = 75  # longer than clients keep a connection: else one asks on it at the moment at which it is closed


def probe_routes(engine: Engine, *, stuck: Callable[[], str] = lambda: "", in_words: bool = True) -> list[BaseRoute]:
    """/healthz and /readyz (200 once objects are listed and nothing has failed, else 503), /livez and /metrics.

    `stuck`: what is wrong that only a new process mends, in words; '' when nothing is. /livez asks for this alone: to
    start anew helps nobody while the API server is away. `in_words`: say what is wrong to whoever asks, not to the log
    alone; the words name servers and objects.
    """

    def answer(problem: str) -> Response:
        if not problem:
            return JSONResponse({"status": "ok"})
        if in_words:
            return PlainTextResponse(problem, status_code=503)
        log.warning("a probe is refused", problem=problem)
        return PlainTextResponse("not well: the log says why", status_code=503)

    async def healthz(_request: Request) -> Response:
        return answer(engine.unhealthy() or stuck())

    async def livez(_request: Request) -> Response:
        return answer(stuck())

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(engine.dispatch.meters.registry), media_type=CONTENT_TYPE_LATEST)

    return [
        Route("/healthz", healthz),
        Route("/readyz", healthz),
        Route("/livez", livez),
        Route("/metrics", metrics),
    ]


def results_routes(engine: Engine) -> list[BaseRoute]:
    """/results/v1/... for readers: reports and outputs, which quote source code."""
    return [Mount("/", results_app(engine.dispatch, engine.store))]


def visitor_routes(engine: Engine) -> list[BaseRoute]:
    """/v1/scanjobs/... for people without a cluster: the dispatcher's own calls for visitors."""
    return [Mount(VISITS.rstrip("/"), DispatchService(engine.dispatch))]


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; `port` 0: any free one. InvalidInput when the port is taken."""
    # With the protocol named, asyncio switches Nagle off on what is accepted: 40 ms an answer otherwise.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise InvalidInput(
            f"cannot listen on {host} port {port}: {error.strerror or error}",
            hint="stop what uses that port, or choose another (0: any free one)",
        ) from None
    return listener


class _Server(uvicorn.Server):
    """uvicorn that leaves signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Signals belong to whoever runs the event loop."""
        yield


@contextlib.asynccontextmanager
async def serve(
    app: Starlette, listener: socket.socket, *, certificate: Path | None = None, key: Path | None = None
) -> AsyncIterator[None]:
    """Serve an application on a listening socket until the block is left; requests then get a second to end.

    With a certificate and its key: by TLS alone.
    """
    config = uvicorn.Config(
        app,
        http=BoundedHttp,
        ws="none",
        lifespan="off",
        loop="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=1,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving
