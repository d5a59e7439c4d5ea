"""Everything in one process, without a cluster: embedded objects, the engine, and (with a port) the API over HTTP.

What must stay true: only one process uses a data folder at a time; the API is served on loopback; without a port
nothing listens but the dispatcher, which wants a token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from mahavishnu_operator.dispatch.dispatcher import Dispatcher
from mahavishnu_operator.resources.embedded import EmbeddedResources
from mahavishnu_operator.resources.protocol import Key, Obj
from mahavishnu_operator.store.protocol import Store
from mahavishnu_operator.support.folders import make_data_folder

from .aggregation import StoredReport
from .engine import Engine, EngineOptions
from .readers import ResultsHere
from .waiting import ShowProgress

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Mounted:
    """What somebody serves beside the API, behind its guard; `closing` is awaited before requests are ended."""

    routes: Sequence[BaseRoute]
    closing: Callable[[], Awaitable[None]]


Mount = Callable[["EmbeddedEngine"], AbstractAsyncContextManager[Mounted]]


class EmbeddedEngine:
    """`async with EmbeddedEngine(options, port=8680)`. `port` None: no API over HTTP; 0: any free one.

    `mount`: what is served on that port besides, for as long as its block lasts. `token`: asked of whoever calls there.
    """

    resources: EmbeddedResources
    url: str
    kubeconfig: Path

    def __init__(
        self, options: EngineOptions, *, port: int | None = None, mount: Mount | None = None, token: str | None = None
    ) -> None:
        self._options, self._port, self._mount, self.token = options, port, mount, token
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _open(self) -> None:
        folder = self._options.data_dir
        await asyncio.to_thread(make_data_folder, folder)
        self.resources = EmbeddedResources(folder / "objects.db")
        self._stack.push_async_callback(self.resources.close)
        self._engine = await self._stack.enter_async_context(Engine(self.resources, self._options))
        if self._port is not None:
            await self._serve(folder, self._port)

    async def _serve(self, folder: Path, port: int) -> None:
        from mahavishnu_operator.resources.rest import api_app, write_kubeconfig  # only who serves pays for these

        from .serving import listen, probe_routes, results_routes, serve, visitor_routes

        engine = self._engine
        listener = listen(HOST, port)
        self._stack.callback(listener.close)
        self.url = f"http://{HOST}:{listener.getsockname()[1]}"
        more = await self._stack.enter_async_context(self._mount(self)) if self._mount is not None else None
        routes = [
            *probe_routes(engine),
            *visitor_routes(engine),
            *(more.routes if more else ()),
            *results_routes(engine),
        ]
        app = api_app(self.resources, token=self.token, extra_routes=routes)
        await self._stack.enter_async_context(serve(app, listener))
        if more is not None:
            self._stack.push_async_callback(more.closing)
        self.kubeconfig = await asyncio.to_thread(
            write_kubeconfig, folder / "kubeconfig", server=self.url, token=self.token
        )

    @property
    def store(self) -> Store:
        """What survives a kill."""
        return self._engine.store

    @property
    def results(self) -> ResultsHere:
        """What came of ScanJobs, for whoever runs in this process."""
        return self._engine.results

    @property
    def dispatch(self) -> Dispatcher:
        """Who gets which task."""
        return self._engine.dispatch

    async def listed(self) -> None:
        """Wait until the objects are listed: from then on /healthz answers that all is well."""
        await self._engine.synced.wait()

    async def failed(self) -> None:
        """Wait until something that everything depends on has failed, and raise that."""
        await self._engine.failed()

    async def wait_terminal(self, key: Key, on_progress: ShowProgress | None = None) -> Obj:
        """The ScanJob once it has ended. NotFound when it does not exist, or is deleted meanwhile."""
        return await self._engine.wait_terminal(key, on_progress)

    async def report(self, uid: str) -> StoredReport | None:
        """The stored report of a job, None when there is none."""
        return await self._engine.report(uid)
