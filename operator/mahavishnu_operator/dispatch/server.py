"""The dispatcher's own listening port: uvicorn inside a running event loop.

The pressure: this port hands out work to whoever has a token, so it is not opened to a network in clear by
accident; and it runs beside reconcilers, so it must neither take the process's signals nor keep it alive.
What must stay true: a host that is not loopback needs TLS or an explicit yes; `close` lets no long poll
hold it up.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import structlog
import uvicorn

from mahavishnu_operator.support.addresses import is_loopback
from mahavishnu_operator.support.errors import InvalidInput, MahavishnuError
from mahavishnu_operator.support.http_heads import BoundedHttp
from mahavishnu_operator.support.keepalive import keep_alive

from .dispatcher import Dispatcher
from .service import DispatchService

log = structlog.get_logger(__name__)
IDLE_SECONDS = 75  # a worker's connection may rest that long between calls
BACKLOG = 2048


@dataclass(frozen=True)
class Listen:
    """Where to listen. `port` 0: any free one. `allow_plain_http`: the network between is trusted."""

    host: str
    port: int
    tls_certificate: Path | None
    tls_key: Path | None
    allow_plain_http: bool

    @property
    def tls(self) -> bool:
        """Whether calls are encrypted."""
        return self.tls_certificate is not None


class _Server(uvicorn.Server):
    """uvicorn that leaves signals alone and does not poll for its end."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ending = asyncio.Event()
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Signals belong to whoever runs the event loop."""
        yield

    async def main_loop(self) -> None:
        """Wait for the end: the Date header, which uvicorn's own loop refreshes, is not sent."""
        self.listening.set()
        await self.ending.wait()


class DispatchServer:
    """Serves a dispatcher; `async with`, or `start` and `close`. `port` is known after the start.

    InvalidInput: the host is not loopback and neither TLS nor `allow_plain_http` was given.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls_certificate: Path | None = None,
        tls_key: Path | None = None,
        allow_plain_http: bool = False,
    ) -> None:
        self._listen = Listen(host, port, tls_certificate, tls_key, allow_plain_http)
        _check(self._listen)
        self._service = DispatchService(dispatcher)
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self.port = self._listen.port

    @property
    def url(self) -> str:
        """What workers are told to call."""
        host = f"[{self._listen.host}]" if ":" in self._listen.host else self._listen.host
        return f"{'https' if self._listen.tls else 'http'}://{host}:{self.port}"

    async def start(self) -> None:
        """Listen. InvalidInput: the port is taken or the host is none of this machine's."""
        listen = self._listen
        listener = _bind(listen)
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            self._service,
            http=BoundedHttp,
            ws="none",
            lifespan="off",
            loop="none",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=1,
            ssl_certfile=listen.tls_certificate,
            ssl_keyfile=listen.tls_key,
        )
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        ready = asyncio.create_task(self._server.listening.wait())
        await asyncio.wait({ready, self._serving}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self._serving.done():
            await self._serving
            raise MahavishnuError(f"the server on {self.url} ended as soon as it began")
        log.info("dispatcher listens", url=self.url)

    async def close(self) -> None:
        """Take no more connections, answer long polls with 503 at once, end connections that are open."""
        if self._server is None or self._serving is None:
            return
        self._service.stop()
        self._server.ending.set()
        await self._serving
        self._server = self._serving = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _check(listen: Listen) -> None:
    if (listen.tls_certificate is None) != (listen.tls_key is None):
        raise InvalidInput("a TLS certificate and its key belong together: one of them is missing")
    if not (is_loopback(listen.host) or listen.tls or listen.allow_plain_http):
        raise InvalidInput(
            f"the dispatcher would listen on {listen.host} without TLS: worker tokens would travel in clear",
            hint="listen on 127.0.0.1, give a certificate and key, or say that the network is trusted",
        )


def _bind(listen: Listen) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    # With the protocol named, asyncio switches Nagle off on what is accepted: 40 ms an answer otherwise.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keep_alive(listener)
        listener.bind((listen.host, listen.port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise InvalidInput(
            f"cannot listen on {listen.host} port {listen.port}: {error.strerror or error}",
            hint="stop what uses that port, or choose another (0: any free one)",
        ) from None
    return listener
