"""WorkerPools by the client: spawn, list, scale, close.

What must stay true: a pool that somebody else made is never changed by `spawn`, nor closed without `force`; closing
drains, because a WorkerPool that is deleted lets its workers finish.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from mahavishnu_operator.api.reasons import API_VERSION, Reason
from mahavishnu_operator.resources.conditions import find_condition
from mahavishnu_operator.resources.protocol import WORKER_POOL, Key, Obj, Resources
from mahavishnu_operator.support.errors import Conflict, InvalidInput, MahavishnuError, NotFound
from mahavishnu_operator.support.text import counted

from .declared import declared_by
from .following import Following, Told
from .ids import check_name
from .jobs import Job, Jobs
from .making import Maker, maker_named_on

RESERVED = "gateway-workers"  # the pool of single workers (workers.py)
MEMORY = "gateway-memory"  # a pool without workers whose annotations are notes (notes.py)
DRAIN_SECONDS = 60.0  # how long closing waits for the caller's own work


class PoolRefused(MahavishnuError):
    """The installation does not act on the pool: it can never have workers as it is."""

    reason = "PoolRefused"


class PoolState(StrEnum):
    """How a pool stands, in one word."""

    PENDING = "pending"  # nobody has looked at it yet
    INITIALIZING = "initializing"  # no worker is ready yet
    RUNNING = "running"  # as many workers are ready as wanted
    SCALING = "scaling"  # workers come or go
    DEGRADED = "degraded"  # something keeps workers from being ready
    STOPPED = "stopped"  # it is suspended, or being deleted
    FAILED = "failed"  # it was refused


_TROUBLES = frozenset(
    reason.value
    for reason in (
        Reason.CRASH_LOOP,
        Reason.START_FAILED,
        Reason.UNSCHEDULABLE,
        Reason.IMAGE_UNAVAILABLE,
        Reason.BACKEND_ERROR,
        Reason.PENDING_TOO_LONG,
    )
)


@dataclass(frozen=True)
class Pool:
    """A WorkerPool as it stands."""

    key: Key
    uid: str
    backend: str
    min_workers: int
    max_workers: int
    wanted: int
    ready: int
    busy: int
    pending_tasks: int
    running_tasks: int
    completed: int
    failed: int
    idle_since: str
    state: PoolState
    message: str
    created_by: str
    obj: Obj = field(repr=False)

    @classmethod
    def of(cls, obj: Obj) -> Pool:
        """The pool in an object as stored."""
        meta, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
        least, most = int(spec.get("minWorkers", 0)), int(spec.get("maxWorkers", 10))
        ready = find_condition(obj, "Ready") or {}
        accepted = find_condition(obj, "Accepted") or {}
        return cls(
            key=Key.of(obj),
            uid=meta["uid"],
            backend=str(spec["backend"]),
            min_workers=least,
            max_workers=most,
            wanted=max(least, min(most, int(spec.get("replicas", 1)))),
            ready=int(status.get("ready", 0)),
            busy=int(status.get("busy", 0)),
            pending_tasks=int(status.get("pendingTasks", 0)),
            running_tasks=int(status.get("runningTasks", 0)),
            completed=int(status.get("completedTotal", 0)),
            failed=int(status.get("failedTotal", 0)),
            idle_since=str(status.get("idleSince") or ""),
            state=_state(obj),
            message=str((accepted if accepted.get("status") == "False" else ready).get("message") or ""),
            created_by=maker_named_on(obj),
            obj=obj,
        )

    @property
    def settled(self) -> bool:
        """The latest spec was looked at, and as many workers are ready as it wants."""
        ready = find_condition(self.obj, "Ready") or {}
        return _is_current(self.obj) and ready.get("status") == "True" and self.ready >= self.wanted

    def idle_seconds(self, now: datetime | None = None) -> float:
        """Seconds since it last had work; 0 while it has some."""
        if not self.idle_since or self.pending_tasks or self.running_tasks:
            return 0.0
        return max(0.0, ((now or datetime.now(UTC)) - datetime.fromisoformat(self.idle_since)).total_seconds())


class Pools:
    """`client.pools`. Errors are those of resources.protocol.Resources, and PoolRefused."""

    def __init__(
        self, resources: Resources, following: Following, jobs: Jobs, *, namespace: str, me: Maker, backend: str
    ) -> None:
        self._resources, self._following, self._jobs = resources, following, jobs
        self._namespace, self._me, self._backend = namespace, me, backend

    async def spawn(
        self,
        name: str,
        *,
        namespace: str = "",
        min_workers: int = 1,
        max_workers: int = 10,
        replicas: int | None = None,
        backend: str = "",
        auto_scale: bool = False,
        idle_seconds: int | None = None,
        allowed_commands: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        told: Told | None = None,
    ) -> Pool:
        """Make a pool, or change the settings of this caller's own of that name, and wait for its workers.

        `replicas`: workers of a new pool; left out: min_workers, or one where it does not scale by itself.
        `idle_seconds`: without work after which a pool that scales by itself lets a worker go.
        The pool as it stands after `timeout` seconds: see `settled`. Conflict: the name is somebody else's.
        PoolRefused: this installation cannot have such a pool; one made by this very call is deleted again.
        """
        check_name(name, what="a pool's name")
        if max_workers < min_workers:
            raise InvalidInput(
                f"min_workers is {min_workers} and max_workers {max_workers}", hint="max may not be less"
            )
        key = Key(namespace or self._namespace, name)
        spec: Obj = {
            "backend": backend or self._backend,
            "minWorkers": min_workers,
            "maxWorkers": max_workers,
            "autoscaling": _autoscaling(auto_scale, idle_seconds),
            "allowedCommands": list(allowed_commands),
        }
        meta: Obj = {
            "labels": {**(labels or {}), **self._me.labels},
            "annotations": {**(annotations or {}), **self._me.annotations},
        }
        first = min_workers if auto_scale else max(min_workers, min(1, max_workers))
        first = first if replicas is None else replicas
        made = True
        try:
            obj = await self._resources.create(WORKER_POOL, _manifest(key, {**spec, "replicas": first}, meta))
        except Conflict:
            made, obj = False, await self._change(key, spec, meta)
        obj = await self._following.until(
            WORKER_POOL, obj, lambda now: Pool.of(now).settled or _is_refused(now), timeout=timeout, told=told
        )
        pool = Pool.of(obj)
        if _is_refused(obj):
            if made:
                await self._resources.delete(WORKER_POOL, key, uid=pool.uid)
            raise PoolRefused(pool.message)
        return pool

    async def _change(self, key: Key, spec: Obj, meta: Obj) -> Obj:
        there = Pool.of(await self._resources.get(WORKER_POOL, key))
        if not self._me.made(there.obj):
            maker = f"by {there.created_by}" if there.created_by else "otherwise, as by kubectl or GitOps"
            raise Conflict(f"there is a WorkerPool {key} already, made {maker}", hint="choose another name")
        if declared := declared_by(there.obj):
            raise Conflict(f"WorkerPool {key} is declared elsewhere ({declared})", hint="change it there")
        if there.backend != spec["backend"]:
            raise Conflict(
                f"WorkerPool {key} is of backend {there.backend}, which cannot change to {spec['backend']}",
                hint="close it first, or choose another name",
            )
        return await self._resources.merge(WORKER_POOL, key, {"metadata": meta, "spec": spec})

    async def get(self, key: Key) -> Pool:
        """One pool."""
        return Pool.of(await self._resources.get(WORKER_POOL, key))

    async def list(self, *, namespace: str | None = "", mine: bool = False) -> tuple[Pool, ...]:
        """All pools of a namespace (None: of all) that are for work; `mine`: those made by this caller alone."""
        scope = self._namespace if namespace == "" else namespace
        selector = self._me.selector if mine else ""
        listing = await self._resources.list(WORKER_POOL, namespace=scope, label_selector=selector)
        pools = (Pool.of(obj) for obj in listing.items if obj["metadata"]["name"] != MEMORY)
        return tuple(sorted(pools, key=lambda pool: pool.key))

    async def shared(self) -> Sequence[str] | None:
        """Names of pools that a job may be routed to, without that of single workers; None: it may be any."""
        names = [pool.key.name for pool in await self.list()]
        return [name for name in names if name != RESERVED] if RESERVED in names else None

    async def scale(self, key: Key, workers: int, *, timeout: float = 30.0, told: Told | None = None) -> Pool:
        """Want so many workers, and wait for them; the pool as it stands then. InvalidInput: outside its range."""
        pool = await self.get(key)
        if not pool.min_workers <= workers <= pool.max_workers:
            raise InvalidInput(
                f"WorkerPool {key} has {pool.min_workers} to {counted(pool.max_workers, 'worker')}, not {workers}",
                hint=f"choose a number from {pool.min_workers} to {pool.max_workers}",
            )
        await self._resources.scale(WORKER_POOL, key, workers)
        now = await self._resources.get(WORKER_POOL, key)
        reached = await self._following.until(
            WORKER_POOL,
            now,
            lambda obj: _is_current(obj) and Pool.of(obj).ready == workers,
            timeout=timeout,
            told=told,
        )
        return Pool.of(reached)

    async def close(
        self, key: Key, *, force: bool = False, timeout: float = DRAIN_SECONDS, told: Told | None = None
    ) -> Pool:
        """Let its work end, then delete the pool; workers finish what they hold. `told`: changes of that work.

        Conflict: it is not this caller's, has the work of others, or the caller's own work did not end in time; with
        `force` it is deleted all the same, and this caller's jobs in it are cancelled.
        """
        pool = await self.get(key)
        jobs = await self._jobs_in(pool)
        if not force:
            self._check_free(pool, jobs)
            await self._let_end(pool, jobs, timeout=timeout, told=told)
        mine = [job.key for job in jobs if self._me.made(job.obj)] if force else []
        await self._resources.delete(WORKER_POOL, key, uid=pool.uid)
        for job in mine:
            try:
                await self._jobs.cancel(job)
            except NotFound:
                continue  # it has ended and gone
        return pool

    async def close_all(
        self, *, namespace: str | None = "", told: Told | None = None
    ) -> tuple[Sequence[Key], Mapping[Key, str]]:
        """Close this caller's own pools: those that were closed, and why others were not.

        That of single workers stays, and what GitOps or a manifest declares.
        """
        mine = await self.list(namespace=namespace, mine=True)
        pools = [pool for pool in mine if pool.key.name != RESERVED and not declared_by(pool.obj)]
        answers = await asyncio.gather(*(self.close(pool.key, told=told) for pool in pools), return_exceptions=True)
        closed, kept = [], {}
        for pool, answer in zip(pools, answers, strict=True):
            if isinstance(answer, Pool | NotFound):
                closed.append(pool.key)
            elif isinstance(answer, MahavishnuError):
                kept[pool.key] = str(answer)
            else:
                raise answer
        return closed, kept

    def _check_free(self, pool: Pool, jobs: Sequence[Job]) -> None:
        if not self._me.made(pool.obj):
            raise Conflict(f"WorkerPool {pool.key} was not made by this caller", hint="close it with force")
        if declared := declared_by(pool.obj):
            raise Conflict(
                f"WorkerPool {pool.key} is declared elsewhere ({declared})",
                hint="remove it there, or close it with force",
            )
        others = [str(job.key) for job in jobs if not self._me.made(job.obj)]
        if others:
            named = ", ".join(others[:5])
            raise Conflict(f"WorkerPool {pool.key} has the work of others: {named}", hint="close it with force")

    async def _let_end(self, pool: Pool, jobs: Sequence[Job], *, timeout: float, told: Told | None) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        for job in jobs:
            try:
                now = await self._jobs.wait(job, timeout=max(0.0, deadline - loop.time()), told=told)
            except NotFound:
                continue
            if not now.ended:
                words = f"WorkerPool {pool.key} still has work after {timeout:g} s: {job.key}"
                raise Conflict(words, hint="close it with force")

    async def _jobs_in(self, pool: Pool) -> Sequence[Job]:
        """Jobs that have not ended and have their tasks there, or wait for it."""
        spaces = {pool.key.namespace, *(pool.obj["spec"].get("allowedNamespaces") or ())}
        found = [job for space in sorted(spaces) for job in await self._jobs.list(namespace=space)]
        return [job for job in found if job.pool == str(pool.key) and not job.ended]


def _autoscaling(auto_scale: bool, idle_seconds: int | None) -> Obj:
    patience = {} if idle_seconds is None else {"scaleDownIdleSeconds": idle_seconds}
    return {"mode": "Internal" if auto_scale else "Off", **patience}


def _manifest(key: Key, spec: Obj, meta: Obj) -> Obj:
    metadata = {"name": key.name, "namespace": key.namespace, **meta}
    return {"apiVersion": API_VERSION, "kind": WORKER_POOL.kind, "metadata": metadata, "spec": spec}


def _is_current(obj: Obj) -> bool:
    return bool((obj.get("status") or {}).get("observedGeneration", 0) >= obj["metadata"].get("generation", 1))


def _is_refused(obj: Obj) -> bool:
    return _is_current(obj) and (find_condition(obj, "Accepted") or {}).get("status") == "False"


def _state(obj: Obj) -> PoolState:
    status, ready = obj.get("status") or {}, (find_condition(obj, "Ready") or {})
    if obj["metadata"].get("deletionTimestamp") or obj["spec"].get("suspend"):
        return PoolState.STOPPED
    if not status.get("observedGeneration"):
        return PoolState.PENDING
    if (find_condition(obj, "Accepted") or {}).get("status") == "False":
        return PoolState.FAILED
    if ready.get("reason") in _TROUBLES:
        return PoolState.DEGRADED
    if ready.get("status") != "True":
        return PoolState.SCALING if status.get("ready") else PoolState.INITIALIZING
    return (
        PoolState.SCALING if (find_condition(obj, "ScalingActive") or {}).get("status") == "True" else PoolState.RUNNING
    )
