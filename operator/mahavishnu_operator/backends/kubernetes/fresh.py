"""Workers for one task each: their Jobs and Pods in memory, and the calls that make and delete them.

The pressure: a worker is two objects here, each with a watch of its own, and either may be seen first, or go first. A
Job that was deleted leaves a Pod that still finishes its task. What must stay true: a worker exists as long as either
is there; a Pod belongs to a Job by UID, never by a label or a name; our own writes are seen at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from mahavishnu_operator.backends.protocol import BackendError, ObservedWorker, PoolTemplate
from mahavishnu_operator.resources.cache import Reflector
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from mahavishnu_operator.resources.protocol import EventType, Key, Obj, WatchEvent
from mahavishnu_operator.resources.selection import Selection
from mahavishnu_operator.support.errors import MahavishnuError, NotFound

from .jobs import observe_job, worker_job
from .keeping import keep_worker
from .ownership import controller_of, pool_of
from .settings import JOB, POD, KubernetesSettings


@dataclass
class _Worker:
    """One worker's objects. `pool` is None until its Job was seen."""

    pool: Key | None = None
    name: str = ""
    job: Obj | None = None
    pods: dict[str, Obj] = field(default_factory=dict)


class FreshWorkers:
    """Workers by the UID of their Job. `on_gone(pool, worker, message)`: neither Job nor Pod is left."""

    def __init__(
        self,
        resources: KubernetesResources,
        settings: KubernetesSettings,
        *,
        on_change: Callable[[Key], None],
        on_gone: Callable[[Key, str, str], None],
        chosen: Selection,
        namespaces: tuple[str, ...] = (),
    ) -> None:
        self._resources, self._settings = resources, settings
        self._on_change, self._on_gone = on_change, on_gone
        self.reflectors = {
            namespace: Reflector(chosen, JOB, on_change=self._job_changed, namespace=namespace)
            for namespace in namespaces or (None,)
        }
        self._workers: dict[str, _Worker] = {}
        self._by_pool: dict[Key, dict[str, str]] = {}  # worker and UID
        self._uids: dict[Key, str] = {}  # of Jobs
        self._pods: dict[Key, str] = {}  # the UID of a Pod's Job

    def observe(self, pool: Key) -> list[ObservedWorker]:
        """The workers of a pool."""
        found = ((name, self._workers[uid]) for name, uid in self._by_pool.get(pool, {}).items())
        return [observe_job(name, worker.job, worker.pods.values()) for name, worker in found]

    def has(self, pool: Key, worker: str) -> bool:
        """Whether it is one of these."""
        return worker in self._by_pool.get(pool, {})

    def pods(self) -> Iterator[tuple[Key, str, Obj]]:
        """Pool, worker and Pod of all."""
        for worker in self._workers.values():
            if worker.pool is not None:
                yield from ((worker.pool, worker.name, pod) for pod in worker.pods.values())

    async def start(self, template: PoolTemplate, name: str) -> None:
        """Make a Job. BackendError: the API server refused it, or did not answer."""
        try:
            job = await self._resources.create(JOB, worker_job(template, name, self._settings))
        except MahavishnuError as error:
            raise BackendError(
                f"Job {name} of pool {template.key} could not be made: {error.message}",
                hint=error.hint or "see spec.kubernetes of the pool, and its namespace's quota",
            ) from error
        self._take_in(EventType.ADDED, job)

    async def delete(self, pool: Key, name: str, *, at_once: bool) -> None:
        """Delete the Job, and with it its Pod, which may finish within its grace unless `at_once`."""
        worker = self._workers[self._by_pool[pool][name]]
        try:
            if worker.job is not None and not worker.job["metadata"].get("deletionTimestamp"):
                await self._delete_job(worker.job)
            for pod in list(worker.pods.values()) if at_once else ():
                with suppress(NotFound):
                    await self._resources.delete(POD, Key.of(pod), uid=pod["metadata"]["uid"], grace_seconds=0)
        except MahavishnuError as error:
            raise BackendError(
                f"Job {name} of pool {pool} could not be deleted: {error.message}", hint=error.hint
            ) from error

    async def _delete_job(self, job: Obj) -> None:
        key = Key.of(job)
        with suppress(NotFound):
            await self._resources.delete(JOB, key, uid=job["metadata"]["uid"])
        reflector = self._reflector(key)
        if (held := reflector.store.get(key)) is not None and held["metadata"]["uid"] == job["metadata"]["uid"]:
            reflector.observe(WatchEvent(EventType.DELETED, held))  # it has no finalizer of ours, so it has gone

    def pod_changed(self, key: Key, pod: Obj | None) -> Key | None:
        """Take in a Pod, or that it has gone; the pool, if it is one of these and its Job is known."""
        owner = controller_of(pod) if pod is not None else None
        uid = owner["uid"] if owner is not None and owner["kind"] == JOB.kind else self._pods.get(key)
        if uid is None:
            return None
        if pod is not None:
            worker = self._workers.setdefault(uid, _Worker())
            worker.pods[key.name] = pod
            self._pods[key] = uid
        else:
            worker = self._workers[uid]
            worker.pods.pop(key.name, None)
            del self._pods[key]
        pool = worker.pool
        self._told(uid)
        return pool

    def _job_changed(self, key: Key) -> None:
        job = self._reflector(key).store.get(key)
        before = self._uids.get(key)
        if before is not None and (job is None or job["metadata"]["uid"] != before):
            del self._uids[key]
            self._workers[before].job = None
            self._told(before)
        pool = pool_of(job) if job is not None else None
        if job is None or pool is None:
            return
        uid = job["metadata"]["uid"]
        worker = self._workers.setdefault(uid, _Worker())
        worker.pool, worker.name, worker.job = pool, key.name, job
        self._uids[key] = uid
        self._by_pool.setdefault(pool, {})[key.name] = uid
        self._told(uid)

    def _told(self, uid: str) -> None:
        """Something of a worker changed: tell its pool, and forget it when nothing of it is left."""
        worker = self._workers[uid]
        if worker.job is None and not worker.pods:
            del self._workers[uid]
            if worker.pool is not None:
                workers = self._by_pool[worker.pool]
                del workers[worker.name]
                if not workers:
                    del self._by_pool[worker.pool]
                self._on_gone(worker.pool, worker.name, "its Job and its Pod were deleted")
        if worker.pool is not None:
            self._on_change(worker.pool)

    def _take_in(self, type_: EventType, job: Obj) -> None:
        self._reflector(Key.of(job)).observe(WatchEvent(type_, keep_worker(job)))

    def _reflector(self, key: Key) -> Reflector:
        return self.reflectors.get(None) or self.reflectors[key.namespace]
