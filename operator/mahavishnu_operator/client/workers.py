"""Single workers by the client: members of one reserved WorkerPool, each held by whoever asked for it.

The pressure: published clients ask for workers one by one and send each its own work. What must stay true: a worker is
a member of a pool like any other, so the engine starts, watches and stops it; who holds which is an annotation of the
pool, written only at the version that was read, so two replicas give nobody the same worker; a worker that is gone
stays in the list as such until it is closed. One that died has another in its place, that nobody holds; one that had
nothing to do for an hour has none: the pool scales by itself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mahavishnu_operator.api.reasons import Label
from mahavishnu_operator.resources.protocol import WORKER_POOL, Key, Obj, Resources
from mahavishnu_operator.support.errors import Conflict, InvalidInput, MahavishnuError, NotFound
from mahavishnu_operator.support.text import counted

from .following import Following, Told
from .jobs import Job, Jobs
from .making import Maker
from .pools import RESERVED, Pool, Pools

MOST = 50
IDLE_SECONDS = 3600  # docs of the tools promise an hour to whoever holds a worker
LIVES = 3  # pools that one call may outlive
TRIES = 30  # statuses move the pool's version as well


@dataclass(frozen=True)
class Held:
    """A worker that somebody holds. `alive`: it is ready or busy now."""

    key: Key
    worker_type: str
    holder: str
    alive: bool


class Workers:
    """`client.workers`, in one namespace. Errors are those of resources.protocol.Resources."""

    def __init__(
        self, resources: Resources, following: Following, pools: Pools, jobs: Jobs, *, namespace: str, me: Maker
    ) -> None:
        self._resources, self._following, self._pools, self._jobs = resources, following, pools, jobs
        self.pool, self._me = Key(namespace, RESERVED), me.value

    async def spawn(
        self,
        count: int,
        *,
        worker_type: str = "command",
        allowed_commands: Sequence[str] = (),
        timeout: float = 60.0,
        told: Told | None = None,
    ) -> tuple[Key, ...]:
        """So many more workers, held by this caller.

        InvalidInput: over the limit. Conflict: they were not ready in time.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        for tried in range(1, LIVES + 1):
            try:
                await self._make_pool(allowed_commands)
                await self._change(lambda obj: {"spec": {"replicas": _replicas_for(obj, count)}})
                return await self._take(count, worker_type, deadline=deadline, told=told)
            except NotFound:  # whoever let the last worker go has closed the pool under us
                if tried == LIVES:
                    raise
        raise AssertionError("every try ends in a return or an error")

    async def _take(self, count: int, worker_type: str, *, deadline: float, told: Told | None) -> tuple[Key, ...]:
        """Wait until so many are free, and hold them; others may have taken some of them between, then wait again."""
        while True:
            left = max(0.0, deadline - asyncio.get_running_loop().time())
            now = await self._resources.get(WORKER_POOL, self.pool)
            obj = await self._following.until(
                WORKER_POOL, now, lambda pool: len(_free(pool)) >= count, timeout=left, told=told
            )
            if len(_free(obj)) < count:
                raise Conflict(
                    f"{len(_free(obj))} of {counted(count, 'worker')} are ready in time: {Pool.of(obj).message}",
                    hint="try again: those that are on their way are given then",
                )
            taken: tuple[str, ...] = ()

            def hold(pool: Obj) -> Obj | None:
                nonlocal taken
                free = _free(pool)
                taken = tuple(free[:count]) if len(free) >= count else ()
                held = {name: {"by": self._me, "type": worker_type} for name in taken}
                return _holding({**_holdings(pool), **held}) if taken else None

            await self._change(hold)
            if taken:
                return tuple(Key(self.pool.namespace, name) for name in taken)

    async def list(self, *, mine: bool = False) -> tuple[Held, ...]:
        """All workers that are held, by name."""
        try:
            obj = await self._resources.get(WORKER_POOL, self.pool)
        except NotFound:
            return ()
        alive = _alive(obj)
        held = (
            Held(Key(self.pool.namespace, name), str(each.get("type", "")), str(each.get("by", "")), name in alive)
            for name, each in sorted(_holdings(obj).items())
        )
        return tuple(each for each in held if not mine or each.holder == self._me)

    async def get(self, key: Key) -> Held:
        """One held worker. NotFound: nobody holds one of that name."""
        for held in await self.list():
            if held.key == key:
                return held
        raise NotFound(f"there is no worker {key}", hint="worker_list names those that there are")

    async def jobs(self) -> Mapping[str, Sequence[Job]]:
        """What each was given that is still kept, oldest first, by the worker's name."""
        found: dict[str, list[Job]] = {}
        for job in sorted(await self._jobs.list(), key=lambda job: job.order):
            if name := str((job.obj["metadata"].get("labels") or {}).get(Label.WORKER) or ""):
                found.setdefault(name, []).append(job)
        return found

    async def close(self, key: Key, *, force: bool = False) -> None:
        """Let it go when it has finished what it holds; the pool goes with the last one.

        NotFound: nobody holds it. Conflict: it is another caller's, or busy; with `force` its work is cancelled.
        """
        held = await self.get(key)
        if held.holder != self._me:
            raise Conflict(f"worker {key} is held by {held.holder}, not by this caller")
        open_jobs = [job for job in (await self.jobs()).get(key.name, ()) if not job.ended]
        if open_jobs and not force:
            raise Conflict(f"worker {key} has work: {open_jobs[0].key}", hint="wait for it, or close it with force")
        for job in open_jobs:
            await self._jobs.cancel(job.key)

        def release(obj: Obj) -> Obj:
            alive = _alive(obj)
            holdings = {name: each for name, each in _holdings(obj).items() if name != key.name}
            retiring = {*(obj["spec"].get("retireWorkers") or ()), key.name}
            # One that is gone may have been let go with its place: those that others hold keep theirs.
            least = 0 if key.name in alive else sum(name in alive for name in holdings)
            spec = {
                "retireWorkers": sorted(name for name in retiring if name in alive),
                "replicas": max(least, int(obj["spec"].get("replicas", 0)) - 1),
            }
            return {**_holding(holdings), "spec": spec}

        await self._change(release)
        if not await self.list():
            await self._close_pool()

    async def close_all(self) -> int:
        """Close all that this caller holds; how many."""
        closed = 0
        for held in await self.list(mine=True):
            try:
                await self.close(held.key, force=True)
            except NotFound:
                continue  # another call of this caller's has closed it
            closed += 1
        return closed

    async def _make_pool(self, allowed_commands: Sequence[str]) -> None:
        try:
            await self._resources.get(WORKER_POOL, self.pool)
        except NotFound:
            try:
                await self._pools.spawn(
                    self.pool.name,
                    namespace=self.pool.namespace,
                    min_workers=0,
                    max_workers=MOST,
                    replicas=0,
                    auto_scale=True,
                    idle_seconds=IDLE_SECONDS,
                    allowed_commands=allowed_commands,
                )
            except Conflict:  # another caller made it meanwhile: it is there for all
                await self._resources.get(WORKER_POOL, self.pool)

    async def _close_pool(self) -> None:
        try:
            obj = await self._resources.get(WORKER_POOL, self.pool)
            if not _holdings(obj) and not obj["spec"].get("replicas"):  # nobody holds one, nor waits for one
                await self._resources.delete(WORKER_POOL, self.pool, uid=obj["metadata"]["uid"])
        except NotFound:
            return  # another caller closed it

    async def _change(self, patch: Callable[[Obj], Obj | None]) -> None:
        """Patch the pool as it is now; once more when it changed meanwhile. A patch of None: leave it."""
        for _ in range(TRIES):
            obj = await self._resources.get(WORKER_POOL, self.pool)
            change = patch(obj)
            if change is None:
                return
            guard = {"resourceVersion": obj["metadata"]["resourceVersion"]}
            change = {**change, "metadata": {**change.get("metadata", {}), **guard}}
            try:
                await self._resources.merge(WORKER_POOL, self.pool, change)
            except Conflict:
                continue
            return
        raise MahavishnuError(
            f"WorkerPool {self.pool} changed {TRIES} times while it was to be changed", hint="try again"
        )


def _alive(obj: Obj) -> Sequence[str]:
    return (obj.get("status") or {}).get("workers") or ()


def _holdings(obj: Obj) -> Mapping[str, Mapping[str, str]]:
    """Who holds which worker. InvalidInput: somebody wrote something else there."""
    text = (obj["metadata"].get("annotations") or {}).get(Label.HELD_WORKERS) or "{}"
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(each, dict) for each in found.values()):
        words = f"annotation {Label.HELD_WORKERS.value} of WorkerPool {Key.of(obj)} is not what was written there"
        raise InvalidInput(words, hint="remove the annotation; its workers are then held by nobody")
    return found


def _holding(holdings: Mapping[str, Mapping[str, str]]) -> Obj:
    return {"metadata": {"annotations": {Label.HELD_WORKERS.value: json.dumps(holdings, sort_keys=True)}}}


def _free(obj: Obj) -> Sequence[str]:
    """Ready workers that nobody holds and that are not on their way out."""
    leaving = obj["spec"].get("retireWorkers") or ()
    held = _holdings(obj)
    return [name for name in _alive(obj) if name not in held and name not in leaving]


def _replicas_for(obj: Obj, count: int) -> int:
    """Workers to want so that `count` are free; those that another call has asked for stay wanted."""
    wanted = int(obj["spec"].get("replicas", 0))
    if wanted + count > MOST:
        raise InvalidInput(
            f"{wanted} workers are there or on their way; at most {MOST}", hint="worker_close some, or ask for fewer"
        )
    return wanted + count
