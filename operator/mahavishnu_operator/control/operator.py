"""The operator: kopf watches both kinds on an API server and feeds the engine; nothing else is kopf's.

The pressure: kopf is edge-triggered, keeps annotations and finalizers by default, and a broken watch can end it or
lose deletions. So only `on.event` is used (it writes nothing), handlers hand over what they saw and return, and the
engine's own complete lists repair what a watch missed. What must stay true: when kopf ends, so does the process,
in words; what was started before kopf outlives it just long enough to be stopped in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kopf
import structlog

from mahavishnu_operator.api.reasons import GROUP, VERSION
from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.credentials import ExecCredentials, TokenFile
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from mahavishnu_operator.resources.protocol import KINDS, EventType, Kind
from mahavishnu_operator.support.errors import MahavishnuError

from .engine import Engine, EngineOptions

log = structlog.get_logger(__name__)

WATCH_SECONDS = 300  # the server ends a watch after this; a silent one is given up after kopf's 70 s
CONNECT_SECONDS = 10
REQUEST_SECONDS = 30
EXIT_SECONDS = 20


@dataclass(frozen=True)
class OperatorOptions:
    """How the operator is started. `kubeconfig` None: the files kubectl would read, or the Pod's service account."""

    engine: EngineOptions
    kubeconfig: Path | None = None
    context: str | None = None
    in_cluster: bool = False
    probe_host: str = "127.0.0.1"
    probe_port: int = 8682


def run_operator(options: OperatorOptions) -> None:
    """Work until SIGTERM or SIGINT. MahavishnuError when the API server cannot be used or kopf ends by itself."""
    asyncio.run(_run(options))


async def _run(options: OperatorOptions) -> None:
    connection = (
        Connection.in_cluster()
        if options.in_cluster
        else Connection.from_kubeconfig(options.kubeconfig, options.context)
    )
    resources = KubernetesResources(connection)
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    try:
        async with Engine(resources, options.engine, own_watch=False) as engine:
            await _serve_probes_while(engine, options, _watch_until(stopping, engine, connection))
    finally:
        await resources.close()


async def _serve_probes_while(engine: Engine, options: OperatorOptions, work: Any) -> None:
    from starlette.applications import Starlette

    from .serving import engine_routes, listen, serve

    routes = engine_routes(engine)
    if not ipaddress.ip_address(options.probe_host).is_loopback:
        routes = routes[:2]  # results may quote source code: beyond loopback only health and metrics are open
    async with serve(Starlette(routes=routes), listen(options.probe_host, options.probe_port)):
        await work


async def _watch_until(stopping: asyncio.Event, engine: Engine, connection: Connection) -> None:
    """Run kopf until asked to stop; raise what ended it, or the engine, before that."""
    watch = _Watch(engine, connection)
    watching = asyncio.create_task(watch.run())
    waiting = asyncio.create_task(stopping.wait())
    failing = asyncio.create_task(engine.failed())
    try:
        await asyncio.wait({watching, waiting, failing}, return_when=asyncio.FIRST_COMPLETED)
        if failing.done():
            failing.result()
        if watching.done():
            watching.result()
            raise MahavishnuError(
                "the watch on the API server ended by itself",
                hint="the log above says why; start the operator again",
                reason="WatchEnded",
            )
        log.info("stopping: local workers finish or hand their leases back")
    finally:
        watch.stop()
        for task in (waiting, failing):
            task.cancel()
        await asyncio.gather(watching, waiting, failing, return_exceptions=True)


class _Watch:
    """kopf in a thread and an event loop of its own: it takes over signals and, when it ends, cancels every task
    that began after it, which must not be the engine's.
    """

    def __init__(self, engine: Engine, connection: Connection) -> None:
        self._engine, self._connection = engine, connection
        self._here = asyncio.get_running_loop()
        self._there: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Watch until `stop`, or until kopf gives up: then its error is raised."""
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.to_thread(asyncio.run, self._operate())

    def stop(self) -> None:
        """End the watch at once; there is nothing that it would have to finish."""
        if self._there is not None and self._task is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed already
                self._there.call_soon_threadsafe(self._task.cancel)

    async def _operate(self) -> None:
        self._there, self._task = asyncio.get_running_loop(), asyncio.current_task()
        logging.getLogger("kopf.objects").setLevel(logging.WARNING)  # a line for each event otherwise
        registry = kopf.OperatorRegistry()
        _add_login(registry, self._connection)
        for kind in KINDS:
            self._add_handler(registry, kind)
        namespaces = self._engine.options.namespaces
        await kopf.operator(
            registry=registry,
            settings=_quiet_settings(),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
        )

    def _add_handler(self, registry: kopf.OperatorRegistry, kind: Kind) -> None:
        @kopf.on.event(GROUP, VERSION, kind.plural, registry=registry, id=f"observe-{kind.plural}")
        async def observe(event: Any, **_: Any) -> None:
            """Hand one event over; None as its type means that a list, not a watch, showed it."""
            seen = (kind, EventType(event["type"] or "ADDED"), dict(event["object"]))
            self._here.call_soon_threadsafe(self._engine.observe, *seen)


def _add_login(registry: kopf.OperatorRegistry, connection: Connection) -> None:
    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        """The credentials of now, from the same connection that the engine uses."""
        token, certificate, key = connection.token, connection.client_cert, connection.client_key
        if connection.token_file is not None:
            token = (await TokenFile(connection.token_file).current()).token
        elif connection.exec_plugin is not None:
            current = await ExecCredentials(connection.exec_plugin).current()
            token, certificate, key = current.token, current.client_cert, current.client_key
        return kopf.ConnectionInfo(
            server=connection.server,
            ca_data=connection.ca_data,
            token=token,
            certificate_data=certificate,
            private_key_data=key,
        )


def _quiet_settings() -> kopf.OperatorSettings:
    """No events, no annotations, no peering, no search for CRDs: a watch that notices when it has gone silent."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = WATCH_SECONDS + 20
    settings.watching.connect_timeout = CONNECT_SECONDS
    settings.networking.request_timeout = REQUEST_SECONDS
    settings.process.ultimate_exiting_timeout = EXIT_SECONDS
    return settings
