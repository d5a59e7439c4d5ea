"""The engine put together: store, dispatcher, backends and reconcilers around one source of objects.

The same in a cluster (objects from kopf's watch) and without one (objects from our own). The pressure: parts that
are started in the wrong order lose work (a queue that runs before the lists are in calls every pool missing), and a
part that dies quietly stops everything without a word. What must stay true: reconciling begins only when both kinds
were listed; the workers of an earlier process are dead before new ones start; whatever background work fails ends in
`failed()`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

import structlog

from mahavishnu_operator.api.reasons import JobPhase
from mahavishnu_operator.backends.kubernetes.settings import KubernetesSettings
from mahavishnu_operator.backends.local_process import LocalProcessBackend
from mahavishnu_operator.backends.protocol import Backend
from mahavishnu_operator.dispatch.core import Pace
from mahavishnu_operator.dispatch.dispatcher import Dispatcher
from mahavishnu_operator.dispatch.server import DispatchServer
from mahavishnu_operator.resources.protocol import (
    SCAN_JOB,
    WORKER_POOL,
    EventType,
    Key,
    Kind,
    Obj,
    Resources,
    WatchEvent,
)
from mahavishnu_operator.scan.tools.registry import TOOLS
from mahavishnu_operator.store.opening import open_store
from mahavishnu_operator.store.protocol import StaleEpoch
from mahavishnu_operator.support.errors import InvalidInput, MahavishnuError
from mahavishnu_operator.support.folders import make_data_folder
from mahavishnu_operator.support.metrics import Metric, counter

from .acceptance import Policy
from .aggregation import Aggregator, StoredReport
from .doorkeeping import make_doorkeeper
from .events import Recorder
from .forgetting import find_missing
from .job_reconciler import JobReconciler
from .objects import Objects
from .options import EngineOptions
from .per_task import asks_for_pods
from .pool_reconciler import PoolReconciler
from .readers import ResultsHere
from .runtime import KeyedQueue, backoff_seconds
from .sourcing import Sourcing, make_source_jobs
from .status import StatusWriter
from .token_review import PodTokens, TokenReviewer
from .waiting import News, ShowProgress, wait_terminal

__all__ = ["Engine", "EngineOptions"]

log = structlog.get_logger(__name__)

PROGRESS_SECONDS = 0.25  # how soon a job is looked at after a task changed; its end is looked at once
LOAD_SECONDS = 0.25  # the same for a pool: a job of a moment then costs it one look, with the counts of its end
EVENTS_SECONDS = 1.0  # how long the engine's end waits for events that are not written yet


class Engine:
    """`async with Engine(resources, options)`: works until left. `own_watch` False: fed through `observe`."""

    def __init__(self, resources: Resources, options: EngineOptions, *, own_watch: bool = True) -> None:
        self.resources, self.options = resources, options
        self._own_watch = own_watch
        self._stack = AsyncExitStack()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: asyncio.Future[None] | None = None
        self._news = News()
        self._listing_problem = ""
        self.synced = asyncio.Event()
        self.answering_since: float | None = None
        """Since when complete lists have been answered, on the monotonic clock; None: the last one was not."""

    async def __aenter__(self) -> Self:
        self._failure = asyncio.get_running_loop().create_future()
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
        options, namespaces = self.options, self.options.namespaces
        await asyncio.to_thread(make_data_folder, options.data_dir)
        self.store = await open_store(options.data_dir, url=options.store_url, blob_folder=options.blob_dir)
        self._stack.push_async_callback(self.store.close)
        pace = Pace(lease_seconds=options.lease_seconds, renew_seconds=options.lease_seconds / 3)
        holder = f"{socket.gethostname()}/{os.getpid()}"
        self.dispatch = await self._stack.enter_async_context(Dispatcher(self.store, holder=holder, pace=pace))
        server = DispatchServer(
            self.dispatch,
            host=options.dispatch_host,
            port=options.dispatch_port,
            tls_certificate=options.dispatch_certificate,
            tls_key=options.dispatch_key,
            allow_plain_http=options.dispatch_plain_http,
        )
        self.server = await self._stack.enter_async_context(server)
        policy = Policy(
            options.enable_local_process,
            options.path_roots,
            tuple(sorted(TOOLS)),
            kubernetes=options.kubernetes is not None,
        )
        self.pools = Objects(self.resources, WORKER_POOL, namespaces=namespaces, on_change=self._pool_changed)
        self.jobs = Objects(self.resources, SCAN_JOB, namespaces=namespaces, on_change=self._job_changed)
        self._recorder = recorder = Recorder(self.resources, busy=lambda: self._job_queue.is_busy)
        self._aggregator = Aggregator(self.dispatch, self.store)
        self.results = ResultsHere(self.dispatch, self.store, self._aggregator)
        self._pool_writer = StatusWriter(self.resources, WORKER_POOL)
        self._job_writer = StatusWriter(self.resources, SCAN_JOB)
        self._pool_reconciler = PoolReconciler(
            objects=self.pools,
            resources=self.resources,
            dispatch=self.dispatch,
            backends=await self._open_backends(),
            writer=self._pool_writer,
            recorder=recorder,
            policy=policy,
        )
        source_jobs = make_source_jobs(
            self.resources, options.kubernetes, on_change=self._tasks_changed, namespaces=namespaces
        )
        self._job_reconciler = JobReconciler(
            objects=self.jobs,
            pools=self.pools,
            resources=self.resources,
            dispatch=self.dispatch,
            aggregator=self._aggregator,
            writer=self._job_writer,
            recorder=recorder,
            policy=policy,
            sourcing=Sourcing(self.store, self.dispatch, source_jobs),
            dispatcher=options.kubernetes.proxy_path if options.kubernetes is not None else "",
        )
        self._pool_queue = self._queue(self._pool_reconciler.reconcile, "pools")
        self._job_queue = self._queue(self._job_reconciler.reconcile, "jobs")
        self.dispatch.visitors.admit_with(make_doorkeeper(self.resources, options.kubernetes), self._aggregator.answers)
        self.dispatch.on_job_changed(self._tasks_changed)
        self.dispatch.on_pool_changed(self._load_changed)
        self._stack.push_async_callback(self._stop_tasks)
        self._stack.push_async_callback(self._recorder.flush, seconds=EVENTS_SECONDS)
        self._spawn(self._recorder.run(), "writing events")
        self._spawn(self._reconcile(), "reconciling")
        if self._own_watch:
            self._spawn(self.pools.run(), "watching workerpools")
            self._spawn(self.jobs.run(), "watching scanjobs")
        if source_jobs is not None:
            self._spawn(source_jobs.run(), "watching jobs")
        self._spawn(self._keep_resyncing(), "comparing complete lists")
        self._spawn(self.dispatch.run(), "dispatching")

    async def _open_backends(self) -> dict[str, Backend]:
        backends: list[Backend] = []
        if self.options.enable_local_process:
            backends.append(await self._open_local_process())
        if self.options.kubernetes is not None:
            backends.append(self._open_kubernetes(self.options.kubernetes))
        return {backend.name: backend for backend in backends}

    def _open_kubernetes(self, settings: KubernetesSettings) -> Backend:
        # Nobody waits for an HTTP client to be loaded who has no cluster.
        from mahavishnu_operator.backends.kubernetes.backend import KubernetesBackend
        from mahavishnu_operator.resources.kubernetes import KubernetesResources

        if not isinstance(self.resources, KubernetesResources):
            raise InvalidInput("backend kubernetes needs an API server", hint="start `mahavishnu operator` instead")
        reviewer = TokenReviewer(PodTokens(self.resources, audience=settings.audience), pool_uid=self._pool_uid)
        self.dispatch.admission.ask(reviewer.identify)
        backend = KubernetesBackend(
            self.resources,
            settings,
            on_change=lambda pool: self.enqueue(WORKER_POOL, pool),
            on_exit=self._worker_ended,
            on_cordon=lambda pool, worker, cordoned: self.dispatch.set_cordoned(
                pool=str(pool), worker=worker, cordoned=cordoned
            ),
            on_mark=lambda pool, worker, marked: self.dispatch.engagement.see(
                pool=str(pool), worker=worker, marked=marked
            ),
            namespaces=self.options.namespaces,
        )
        self.dispatch.engagement.mark_with(backend.mark)
        self._spawn(backend.run(), "watching pods")
        return backend

    def _pool_uid(self, key: Key) -> str | None:
        pool = self.pools.get(key)
        return None if pool is None else str(pool["metadata"]["uid"])

    async def _open_local_process(self) -> Backend:
        backend = LocalProcessBackend(
            self.options.data_dir / "workers",
            server=self.server.url,
            issue_token=lambda pool, worker: self.dispatch.issue_token(pool=pool, worker=worker),
            on_exit=self._worker_ended,
            log_level=self.options.log_level,
            git_ca=self.options.git_ca,
            shutdown_seconds=self.options.shutdown_seconds,
        )
        for pool, worker in await backend.open():
            message = "the process that had started it ended"
            await self.dispatch.worker_gone(pool=str(pool), worker=worker, message=message)
        self._stack.push_async_callback(backend.close)
        return backend

    def _queue(self, work: Callable[[Key], Coroutine[Any, Any, float | None]], name: str) -> KeyedQueue[Key]:
        errors = counter(self.dispatch.meters.registry, Metric.RECONCILE_ERRORS).labels(name)
        return KeyedQueue(
            work, name=name, concurrency=self.options.concurrency, fatal=(StaleEpoch,), on_error=errors.inc
        )

    # --- background ---------------------------------------------------------------------------------

    async def _reconcile(self) -> None:
        await self.pools.synced()
        await self.jobs.synced()
        await self._forget_missing_jobs()
        self.synced.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pool_queue.run())
            group.create_task(self._job_queue.run())

    async def _keep_resyncing(self) -> None:
        failures = 0
        if self._own_watch:
            await asyncio.sleep(self.options.resync_seconds)
        while True:
            try:
                await self.resync()
            except MahavishnuError as error:
                failures += 1
                self._listing_problem, self.answering_since = str(error), None
                log.warning("the objects could not be listed", error=str(error))
                await asyncio.sleep(backoff_seconds(failures))
                continue
            failures, self._listing_problem = 0, ""
            if self.answering_since is None:
                self.answering_since = time.monotonic()
            await asyncio.sleep(self.options.resync_seconds)

    async def resync(self) -> None:
        """Compare with complete lists and look at every object again. Raises what `list` raises."""
        await self.pools.resync()
        await self.jobs.resync()
        for kind, objects in ((WORKER_POOL, self.pools), (SCAN_JOB, self.jobs)):
            for obj in objects:
                self.enqueue(kind, Key.of(obj))
        if self.synced.is_set():
            await self._forget_missing_jobs()

    async def _forget_missing_jobs(self) -> None:
        """Drop what is stored of jobs whose object is gone."""
        missing = await find_missing(self.store, self.jobs, namespaces=self.options.namespaces)
        if missing:
            log.info("forgetting jobs whose objects are gone", jobs=len(missing))
            await self.dispatch.forget(missing)

    def _spawn(self, work: Coroutine[Any, Any, None], what: str) -> None:
        task = asyncio.create_task(work, name=what)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or self._failure is None or self._failure.done():
            return
        error = task.exception() or RuntimeError(f"{task.get_name()} ended without being asked to")
        while isinstance(error, BaseExceptionGroup):  # of task groups; the first failure ended the others
            error = error.exceptions[0]
        log.error("the engine cannot go on", part=task.get_name(), exc_info=error)
        self._failure.set_exception(error)

    async def _stop_tasks(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._failure is not None and self._failure.done() and not self._failure.cancelled():
            self._failure.exception()  # said already; nobody has to have waited for it

    async def failed(self) -> None:
        """Wait until something that everything depends on has failed, and raise that."""
        if self._failure is None:
            raise RuntimeError("the engine was not entered")
        await asyncio.shield(self._failure)

    def unhealthy(self) -> str:
        """Why the engine does not work now, in words; '' when it does."""
        if self._failure is not None and self._failure.done():
            return f"the engine has failed: {self._failure.exception()}"
        if self.synced.is_set():
            return ""
        return f"the objects are not listed yet: {self._listing_problem}".rstrip(": ")

    async def report(self, uid: str) -> StoredReport | None:
        """The stored report of a job, None when there is none."""
        return await self._aggregator.report(uid)

    # --- what happens -------------------------------------------------------------------------------

    def enqueue(self, kind: Kind, key: Key) -> None:
        """Look at an object as soon as possible."""
        (self._pool_queue if kind == WORKER_POOL else self._job_queue).add(key)

    def observe(self, kind: Kind, type_: EventType, obj: Obj) -> None:
        """Take in one event of a watch that somebody else follows."""
        (self.pools if kind == WORKER_POOL else self.jobs).observe(WatchEvent(type_, obj))

    def _pool_changed(self, key: Key, before: Obj | None, after: Obj | None) -> None:
        if after is None or not self._pool_writer.is_echo(after):
            self.enqueue(WORKER_POOL, key)
        if _identity(before) == _identity(after):
            return
        for job in self.jobs:
            if self._may_wait_for(job, key):
                self.enqueue(SCAN_JOB, Key.of(job))

    def _may_wait_for(self, job: Obj, pool: Key) -> bool:
        """Whether a job names the pool, was routed to it, or is not routed to one yet."""
        spec, own = job.get("spec") or {}, Key.of(job)
        if spec.get("routing") is not None:
            ended = JobPhase((job.get("status") or {}).get("phase") or JobPhase.PENDING).terminal
            progress = None if ended else self.dispatch.progress(job["metadata"]["uid"])
            return not ended and (progress is None or progress.pool == str(pool))
        reference = spec.get("poolRef") or {}
        return Key(reference.get("namespace") or own.namespace, reference.get("name", "")) == pool

    def _job_changed(self, key: Key, before: Obj | None, after: Obj | None) -> None:
        if after is None or not self._job_writer.is_echo(after):
            self.enqueue(SCAN_JOB, key)
        self._news.tell(key)

    def _tasks_changed(self, uid: str) -> None:
        key = self.jobs.key_of(uid)
        if key is None:
            return
        progress = self.dispatch.progress(uid)
        if progress is None or progress.done:
            self._job_queue.add(key)
        else:
            self._job_queue.add_after(key, PROGRESS_SECONDS)
        self._news.tell(key)

    def _load_changed(self, pool: str) -> None:
        key = Key(*pool.split("/", 1))
        self._pool_queue.add_after(key, 0.0 if asks_for_pods(self.pools.get(key)) else LOAD_SECONDS)

    async def _worker_ended(self, pool: Key, worker: str, message: str) -> None:
        try:
            await self.dispatch.worker_gone(pool=str(pool), worker=worker, message=message)
        finally:  # a store that is full must not keep the pool from seeing the death: it tells of it again
            self._pool_queue.add(pool)

    async def wait_terminal(self, key: Key, on_progress: ShowProgress | None = None) -> Obj:
        """The ScanJob once it has ended. NotFound when it does not exist, or is deleted meanwhile."""
        return await wait_terminal(
            key,
            news=self._news,
            resources=self.resources,
            jobs=self.jobs,
            dispatch=self.dispatch,
            on_progress=on_progress,
        )


def _identity(obj: Obj | None) -> tuple[str, int] | None:
    return (obj["metadata"]["uid"], obj["metadata"].get("generation", 1)) if obj is not None else None
