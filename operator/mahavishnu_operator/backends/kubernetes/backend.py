"""Backend kubernetes: the thin shell that makes and deletes worker Pods, and keeps what is there in memory.

The pressure: a reconciler that counts from a cache makes Pods twice while its own are not in the cache yet, and one
that lists for each look burdens the API server. So Pods are followed by one watch, and the answer to each of our own
writes goes into the same memory at once. What must stay true: before the first complete list nothing is known, and
`observe` says so; a Pod that vanished without being asked to is reported once.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from mahavishnu_operator.api.reasons import Label
from mahavishnu_operator.backends.protocol import BackendError, ObservedWorker, PoolTemplate, WorkerPhase
from mahavishnu_operator.resources.cache import Reflector
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from mahavishnu_operator.resources.protocol import EventType, Key, Obj, WatchEvent
from mahavishnu_operator.resources.selection import Selection
from mahavishnu_operator.support.errors import MahavishnuError, NotFound

from .fresh import FreshWorkers
from .guards import BUDGET, NETWORK_POLICY, NOT_SAFE_TO_EVICT, disruption_budget, guard_name, network_policy
from .keeping import keep_node, keep_worker
from .ownership import controller_of, pool_of
from .phases import observe_pod
from .pods import worker_pod
from .settings import NODE, POD, KubernetesSettings

log = structlog.get_logger(__name__)

FIELD_MANAGER = "mahavishnu"

OnChange = Callable[[Key], None]
OnExit = Callable[[Key, str, str], Awaitable[None]]
OnCordon = Callable[[Key, str, bool], None]
OnMark = Callable[[Key, str, bool], None]


class KubernetesBackend:
    """Workers as Pods; see backends.protocol.Backend. `run` follows the Pods until cancelled.

    `on_change(pool)` is called when a Pod of a pool changed; `on_exit(pool, worker, message)` is awaited when one
    has gone; `on_cordon(pool, worker, cordoned)` is called with whether its node takes no new work, and
    `on_mark(pool, worker, busy)` with whether it is labelled busy. `namespaces` empty: all.
    """

    name = "kubernetes"

    def __init__(
        self,
        resources: KubernetesResources,
        settings: KubernetesSettings,
        *,
        on_change: OnChange,
        on_exit: OnExit,
        on_cordon: OnCordon,
        on_mark: OnMark,
        namespaces: tuple[str, ...] = (),
    ) -> None:
        self._resources, self._settings = resources, settings
        self.installation = settings.digest
        self._on_change, self._on_exit = on_change, on_exit
        chosen = Selection(resources, f"{Label.MANAGED_BY}=mahavishnu,{Label.COMPONENT}=worker", keep=keep_worker)
        self.reflectors = {
            namespace: Reflector(chosen, POD, on_change=self._changed, namespace=namespace)
            for namespace in namespaces or (None,)
        }
        # Also where only some namespaces are watched: a node has none, and its drain waits for their workers too.
        self._nodes = Reflector(Selection(resources, keep=keep_node), NODE, on_change=self._node_changed)
        self._on_cordon, self._on_mark = on_cordon, on_mark
        self._prepared: dict[str, tuple[Obj, ...]] = {}  # by pool UID: what stands around it
        self._pods: dict[Key, dict[str, Obj]] = {}  # by pool and worker
        self._workers: dict[Key, dict[str, ObservedWorker]] = {}  # the same as workers
        self._gone: asyncio.Queue[tuple[Key, str, str]] = asyncio.Queue()
        self._fresh = FreshWorkers(
            resources,
            settings,
            on_change=on_change,
            on_gone=lambda pool, worker, message: self._gone.put_nowait((pool, worker, message)),
            chosen=chosen,
            namespaces=namespaces,
        )

    async def run(self) -> None:
        """List and watch Pods and Jobs, and report workers that have gone, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._report_gone())
            for reflector in (*self.reflectors.values(), *self._fresh.reflectors.values(), self._nodes):
                group.create_task(reflector.run())

    async def observe(self, pool: Key) -> list[ObservedWorker]:
        """The Pods of a pool. BackendError: they have not been listed yet."""
        following = (*self.reflectors.values(), *self._fresh.reflectors.values())
        if not all(reflector.synced.is_set() for reflector in following):
            raise BackendError(
                f"the Pods and Jobs of pool {pool} are not known yet: the API server has not answered a complete list"
            )
        return [*self._workers.get(pool, {}).values(), *self._fresh.observe(pool)]

    async def prepare(self, template: PoolTemplate) -> None:
        """Apply the pool's PodDisruptionBudget and, unless it is unmanaged, its NetworkPolicy. BackendError."""
        pool, uid = template.key, template.uid
        managed = (template.spec.get("kubernetes") or {}).get("networkPolicy", "Managed") == "Managed"
        policy = network_policy(pool, uid, dispatcher_port=self._settings.dispatcher_port)
        wanted = (disruption_budget(pool, uid), *([policy] if managed else []))
        if self._prepared.get(uid) == wanted:
            return
        try:
            for kind, manifest in zip((BUDGET, NETWORK_POLICY), wanted, strict=False):
                await self._resources.apply(kind, manifest, field_manager=FIELD_MANAGER, force=True)
            if not managed:
                with suppress(NotFound):
                    await self._resources.delete(NETWORK_POLICY, Key(pool.namespace, guard_name(pool)))
        except MahavishnuError as error:
            raise BackendError(
                f"what protects the Pods of pool {pool} could not be applied: {error.message}", hint=error.hint
            ) from error
        self._prepared[uid] = wanted

    async def mark(self, pool: str, worker: str, busy: bool) -> None:
        """Label a Pod busy, or take the label off. NotFound when it has gone; Unreachable ..."""
        namespace, _, _ = pool.partition("/")
        annotations = NOT_SAFE_TO_EVICT if busy else dict.fromkeys(NOT_SAFE_TO_EVICT)
        patch = {"metadata": {"labels": {Label.BUSY: "true" if busy else None}, "annotations": annotations}}
        self._take_in(EventType.MODIFIED, await self._resources.merge(POD, Key(namespace, worker), patch))

    async def start(self, template: PoolTemplate, worker: str) -> None:
        """Make a Pod, or a Job of one. BackendError: the API server refused it, or did not answer."""
        if template.task_seconds:
            await self._fresh.start(template, worker)
            return
        manifest = worker_pod(template, worker, self._settings)
        try:
            pod = await self._resources.create(POD, manifest)
        except MahavishnuError as error:
            raise BackendError(
                f"Pod {worker} of pool {template.key} could not be made: {error.message}",
                hint=error.hint or "see spec.kubernetes of the pool, its namespace's quota and its Pod Security level",
            ) from error
        self._take_in(EventType.ADDED, pod)

    async def stop(self, pool: Key, worker: str, *, grace_seconds: float) -> None:
        """Delete the Pod: SIGTERM now, SIGKILL after the grace and what its spec adds to it."""
        if self._fresh.has(pool, worker):
            await self._fresh.delete(pool, worker, at_once=grace_seconds == 0)
            return
        pod = self._pods.get(pool, {}).get(worker)
        if pod is None or (self._workers[pool][worker].phase is WorkerPhase.STOPPING and grace_seconds > 0):
            return
        await self._delete(pool, pod, grace=math.ceil(grace_seconds) if grace_seconds == 0 else None)

    async def remove(self, pool: Key, worker: str) -> None:
        """Delete a Pod that ended."""
        if self._fresh.has(pool, worker):
            await self._fresh.delete(pool, worker, at_once=False)
            return
        pod = self._pods.get(pool, {}).get(worker)
        if pod is not None and self._workers[pool][worker].phase is WorkerPhase.FAILED:
            await self._delete(pool, pod, grace=0)

    async def close(self) -> None:
        """Pods outlive the operator: its successor adopts them."""

    async def _delete(self, pool: Key, pod: Obj, *, grace: int | None) -> None:
        key = Key.of(pod)
        try:
            await self._resources.delete(POD, key, uid=pod["metadata"]["uid"], grace_seconds=grace)
            with suppress(NotFound):
                self._take_in(EventType.MODIFIED, await self._resources.get(POD, key))
        except NotFound:
            self._take_in(EventType.DELETED, pod)
        except MahavishnuError as error:
            raise BackendError(
                f"Pod {key.name} of pool {pool} could not be deleted: {error.message}", hint=error.hint
            ) from error

    def _take_in(self, type_: EventType, pod: Obj) -> None:
        reflector = self.reflectors.get(None) or self.reflectors[pod["metadata"]["namespace"]]
        reflector.observe(WatchEvent(type_, keep_worker(pod)))

    def _changed(self, key: Key) -> None:
        reflector = self.reflectors.get(None) or self.reflectors[key.namespace]
        pod = reflector.store.get(key)
        fresh = self._fresh.pod_changed(key, pod)
        if pod is not None:
            pool = pool_of(pod)
            if fresh is not None and (owner := controller_of(pod)) is not None:
                self._tell_cordon(fresh, owner["name"], pod)
            if pool is not None:
                self._take_warm(pool, key.name, pod)
            return
        for pool, pods in list(self._pods.items()):
            if pool.namespace == key.namespace and key.name in pods:
                del pods[key.name]
                last = self._workers[pool].pop(key.name)
                if not pods:
                    del self._pods[pool], self._workers[pool]
                self._gone.put_nowait((pool, key.name, last.message or "its Pod was deleted"))
                self._on_change(pool)

    def _take_warm(self, pool: Key, name: str, pod: Obj) -> None:
        """Its pool is told of a Pod that is another worker than before: most changes are our marks."""
        worker, workers = observe_pod(pod), self._workers.setdefault(pool, {})
        news, workers[name] = worker != workers.get(name), worker
        self._pods.setdefault(pool, {})[name] = pod
        self._tell_cordon(pool, name, pod)
        self._on_mark(pool, name, (pod["metadata"].get("labels") or {}).get(Label.BUSY) == "true")
        if news:
            self._on_change(pool)

    def _node_changed(self, node: Key) -> None:
        warm = ((pool, name, pod) for pool, pods in self._pods.items() for name, pod in pods.items())
        for pool, worker, pod in (*warm, *self._fresh.pods()):
            if pod["spec"].get("nodeName") == node.name:
                self._tell_cordon(pool, worker, pod)

    def _tell_cordon(self, pool: Key, worker: str, pod: Obj) -> None:
        name = pod["spec"].get("nodeName")
        node = self._nodes.store.get(Key("default", name)) if name else None
        if node is not None:
            self._on_cordon(pool, worker, bool(node["spec"].get("unschedulable")))

    async def _report_gone(self) -> None:
        while True:
            pool, worker, message = await self._gone.get()
            try:
                await self._on_exit(pool, worker, message)
            except MahavishnuError as error:  # its leases end by their deadline instead
                log.warning("a worker's end could not be noted", pool=str(pool), worker=worker, error=str(error))
