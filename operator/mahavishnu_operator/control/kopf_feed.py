"""Feeds the engine from kopf: a watch of both kinds, in a thread and an event loop of kopf's own.

The pressure: kopf takes what runs beside it for its own. When it ends it cancels every task made since it began, it
replaces the handlers of SIGTERM and SIGINT, and some seconds later it may kill the whole process. In a loop of its own,
off the main thread, none of this can reach a running task or a clean stop. Only `on.event` is used, which writes
nothing: no annotation, no finalizer, no status. What must stay true: a handler hands over what it saw and returns; an
end of kopf that nobody asked for is told to whoever waits in `ended`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import urlsplit

import kopf
import structlog
import uvloop

from mahavishnu_operator.api.reasons import GROUP, VERSION
from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.protocol import KINDS, EventType, Kind, Obj
from mahavishnu_operator.support.errors import MahavishnuError

from .kopf_session import LastHeard, open_session

log = structlog.get_logger(__name__)

WATCH_SECONDS = 300  # the server ends a watch after this; kopf opens a silent one anew after 70 s
CONNECT_SECONDS = 10
REQUEST_SECONDS = 30
FIRST_BACKOFFS = (1, 1, 2, 3, 5, 8, 13, 21)
LATER_BACKOFFS = (30,) * 20  # ten minutes more: an API server that is upgraded must not end running tasks
STOP_SECONDS = 5.0
# For peering, which is off. kopf would ask for the name of the user that it runs as, which in a container has none.
IDENTITY = "mahavishnu"

Observe = Callable[[Kind, EventType, Obj], None]


class KopfFeed:
    """`async with KopfFeed(...)`: calls `observe` in the running event loop for each event, until left.

    `namespaces` empty: all.
    """

    def __init__(self, connection: Connection, observe: Observe, *, namespaces: Sequence[str] = ()) -> None:
        self._connection, self._observe, self._namespaces = connection, observe, tuple(namespaces)
        self.heard = LastHeard(list(watched_paths(connection.server, self._namespaces)))
        self._stopping = False
        self._stop: Callable[[], object] = lambda: None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        try:
            self._stop()
        except RuntimeError:
            log.debug("kopf had ended already")  # its loop is closed
        await asyncio.to_thread(self._thread.join, STOP_SECONDS)
        failure = self._ended.exception() if self._ended.done() else None
        if self._thread.is_alive():
            log.warning("kopf did not stop in time; it ends with the process", seconds=STOP_SECONDS)
        elif failure is not None and error is None:
            log.warning("kopf failed while it was stopped", error=str(failure))

    async def ended(self) -> None:
        """Wait until kopf has ended without being asked to, and raise that in words."""
        try:
            await asyncio.shield(self._ended)
        except MahavishnuError:
            raise
        except Exception as error:
            raise _watch_ended(f"{type(error).__name__}: {error}") from error
        raise _watch_ended("kopf stopped")

    # --- in kopf's thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            uvloop.run(self._watch())
        except BaseException as error:  # noqa: BLE001 -- whatever ends this thread is raised in the other one
            self._tell(error)
        else:
            self._tell(None)

    def _tell(self, error: BaseException | None) -> None:
        """Settle `_ended`, unless it is settled already."""

        def settle() -> None:
            if not self._ended.done():
                self._ended.set_result(None) if error is None else self._ended.set_exception(error)

        self._loop.call_soon_threadsafe(settle)

    async def _watch(self) -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        if self._stopping:
            return
        registry = kopf.OperatorRegistry()
        sessions: list[Any] = []
        self._add_login(registry, sessions)
        for kind in KINDS:
            self._add_handler(registry, kind)
        _quieten_logs()
        try:
            tasks = await kopf.spawn_tasks(
                registry=registry,
                settings=quiet_settings(),
                identity=cast("Any", IDENTITY),
                clusterwide=not self._namespaces,
                namespaces=self._namespaces,
            )
            # Not kopf.operator(): when a watch fails, it waits for the others, sometimes without end.
            stopped = asyncio.create_task(stop.wait())
            ended, _ = await asyncio.wait({*tasks, stopped}, return_when=asyncio.FIRST_COMPLETED)
            failures = [task.exception() for task in ended if not task.cancelled()]
            self._tell(next((failure for failure in failures if failure is not None), None))
        finally:
            await _cancel_others()  # a login may be under way
            for session in sessions:
                await session.close()

    def _add_handler(self, registry: kopf.OperatorRegistry, kind: Kind) -> None:
        @kopf.on.event(GROUP, VERSION, kind.plural, registry=registry, id=f"observe-{kind.plural}")
        async def observe(event: Any, **_: Any) -> None:
            """Hand one event over; it has no type when a list, not a watch, showed it."""
            type_ = EventType(event["type"] or EventType.ADDED)
            self._loop.call_soon_threadsafe(self._observe, kind, type_, dict(event["object"]))

    def _add_login(self, registry: kopf.OperatorRegistry, sessions: list[Any]) -> None:
        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.AiohttpSession:
            """A session with the credentials of the connection that everything else uses."""
            sessions.append(await open_session(self._connection, self.heard))
            return kopf.AiohttpSession(server=self._connection.server, aiohttp_session=sessions[-1])


async def _cancel_others() -> None:
    """End kopf's tasks, which are all the others of this loop; what does not end is left to the end of the loop."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=STOP_SECONDS / 2)


def watched_paths(server: str, namespaces: Sequence[str]) -> Iterator[str]:
    """The paths that kopf lists and watches on that server."""
    prefix = f"{urlsplit(server).path.rstrip('/')}/apis/{GROUP}/{VERSION}"
    for kind in KINDS:
        for namespace in namespaces:
            yield f"{prefix}/namespaces/{namespace}/{kind.plural}"
        if not namespaces:
            yield f"{prefix}/{kind.plural}"


def quiet_settings() -> kopf.OperatorSettings:
    """No events, no peering, no search for CRDs; watches that end in time, calls that are retried for minutes."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = WATCH_SECONDS + 20
    settings.watching.connect_timeout = CONNECT_SECONDS
    settings.networking.request_timeout = REQUEST_SECONDS
    settings.networking.error_backoffs = FIRST_BACKOFFS + LATER_BACKOFFS
    settings.process.ultimate_exiting_timeout = None  # it would kill this process, workers and all
    return settings


def _quieten_logs() -> None:
    """Keep kopf's warnings and errors, without a line for each event and without its advice on signals."""
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)


def _watch_ended(why: str) -> MahavishnuError:
    return MahavishnuError(
        f"the watch on the API server ended by itself: {why}",
        hint="start the operator again: running jobs go on where they were",
        reason="WatchEnded",
    )
