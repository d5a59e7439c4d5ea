"""The operator: the engine on a Kubernetes API server, fed by kopf, with probes on a port of their own.

The pressure: it runs unattended beside the objects of a whole cluster, so what cannot go on must end it in words, and
what may pass (an API server that is upgraded, rights not given yet, kinds not installed yet) must not. What must stay
true: kopf begins once both kinds were listed, since it never looks again for a kind it did not find; SIGTERM stops in
order, local workers first finishing or handing their leases back; beyond loopback only health and metrics are open.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog
from starlette.applications import Starlette

from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from mahavishnu_operator.support.addresses import is_loopback
from mahavishnu_operator.support.collecting import leave, settle
from mahavishnu_operator.support.racing import first

from .engine import Engine, EngineOptions
from .kopf_feed import KopfFeed
from .serving import listen, probe_routes, results_routes, serve

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class OperatorOptions:
    """How the operator is started. `probe_port` 0: any free one, which the log names."""

    engine: EngineOptions
    connection: Connection
    probe_host: str = "127.0.0.1"
    probe_port: int = 8682


def find_connection(
    kubeconfig: Path | None = None, context: str | None = None, environ: Mapping[str, str] = os.environ
) -> Connection:
    """What was named; else KUBECONFIG; else the Pod's service account; else ~/.kube/config. InvalidInput."""
    named = kubeconfig is not None or context is not None or environ.get("KUBECONFIG")
    if not named and environ.get("KUBERNETES_SERVICE_HOST"):
        return Connection.in_cluster(environ=environ)
    return Connection.from_kubeconfig(kubeconfig, context)


async def run_operator(options: OperatorOptions) -> None:
    """Work until SIGTERM or SIGINT, then stop in order.

    InvalidInput: a port or folder cannot be used. MahavishnuError: the watch, or something that everything depends on,
    ended by itself.
    """
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        resources = KubernetesResources(options.connection)
        stack.push_async_callback(resources.close)
        engine = await stack.enter_async_context(Engine(resources, options.engine, own_watch=False))
        feed = KopfFeed(options.connection, engine.observe, namespaces=options.engine.namespaces)
        await _serve_probes(stack, options, engine, lambda: feed.heard.silent(answering_since=engine.answering_since))
        if await first(stopping.wait(), engine.synced.wait(), engine.failed()) == 1:
            log.info("both kinds are listed; watching", server=options.connection.server)
            async with feed:
                settle()
                await first(stopping.wait(), feed.ended(), engine.failed())
        log.info("stopping: local workers finish or hand their leases back")
    leave()


async def _serve_probes(
    stack: AsyncExitStack, options: OperatorOptions, engine: Engine, stuck: Callable[[], str]
) -> None:
    routes = probe_routes(engine, stuck=stuck, in_words=is_loopback(options.probe_host))
    if is_loopback(options.probe_host):
        routes += results_routes(engine)
    listener = listen(options.probe_host, options.probe_port)
    host, port = listener.getsockname()[:2]
    await stack.enter_async_context(serve(Starlette(routes=routes), listener))
    log.info("probes listen", url=f"http://{host}:{port}/healthz")
