"""Which WorkerPool a ScanJob without a poolRef is given to: who may have it, and the router that asks for one.

The pressure: several jobs are routed at one moment, and what they are given shows in a pool's load only once it is on
disk. What must stay true: a job is routed until it was submitted, and never again: from then on its row in the store
names its pool; nothing is told of pools that do not serve the job's namespace; a job that no pool may have waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from mahavishnu_operator.api.reasons import Reason
from mahavishnu_operator.api.scanjob import Routing, RoutingStrategy, ScanJobSpec
from mahavishnu_operator.api.workerpool import WorkerPoolSpec
from mahavishnu_operator.dispatch.protocol import Dispatch, PoolLoad
from mahavishnu_operator.dispatch.routing import Candidate, choose
from mahavishnu_operator.resources.protocol import Key, Obj

from .acceptance import Policy, Refusal, allowed_commands, disallowed, parse_pool
from .objects import Objects
from .pools import expected_workers

SHOWN = 5  # pools that are named in a message

_Version = tuple[str, int, bool]  # of a WorkerPool: uid, generation, whether it is being deleted


@dataclass(frozen=True, slots=True)
class SeenPool:
    """A WorkerPool as listed. `spec` None: it was refused, as `refusal` says."""

    key: Key
    spec: WorkerPoolSpec | None
    refusal: str = ""
    deleting: bool = False
    serves: tuple[str, ...] = ()  # other namespaces


def may_have(
    job: Key, spec: ScanJobSpec, pools: Iterable[SeenPool], policy: Policy
) -> tuple[list[SeenPool], Refusal | None]:
    """The pools that a job with spec.routing may be given to, by name; or, without any, the refusal that says why."""
    routing = spec.routing or Routing()
    visible = sorted(
        (
            pool
            for pool in pools
            if (not routing.pools or pool.key.name in routing.pools)
            and (pool.key.namespace == job.namespace or job.namespace in pool.serves)
        ),
        key=lambda pool: pool.key,
    )
    why_not = {pool.key: why for pool in visible if (why := _why_not(pool, routing, spec, policy))}
    found = [pool for pool in visible if pool.key not in why_not]
    if found:
        return found, None
    missing = sorted(set(routing.pools) - {pool.key.name for pool in visible})
    words = [f"there is no WorkerPool {name} for namespace {job.namespace}" for name in missing]
    words += [f"{key} {why}" for key, why in why_not.items()]
    if len(words) > SHOWN:
        words = [*words[:SHOWN], f"and {len(words) - SHOWN} more"]
    what = "; ".join(words) or f"none serves namespace {job.namespace}"
    return [], Refusal(Reason.NO_POOL_MATCHES, f"no WorkerPool passes spec.routing: {what}; the job waits", final=False)


def _why_not(pool: SeenPool, routing: Routing, spec: ScanJobSpec, policy: Policy) -> str:
    if pool.deleting:
        return "is being deleted"
    if pool.spec is None or pool.refusal:
        return f"was refused itself ({pool.refusal})"
    if pool.spec.suspend:
        return "is suspended"
    if routing.worker_class is not None and pool.spec.worker_class != routing.worker_class:
        return f"has workerClass {pool.spec.worker_class or 'unset'}, not {routing.worker_class}"
    if bad := disallowed(spec.tasks or (), allowed_commands(pool.spec, policy)):
        return f"does not allow {', '.join(repr(name) for name in bad[:5])}"
    return ""


def with_worker(job: Key, routing: Routing, pools: Sequence[SeenPool], has: Iterable[Key]) -> Sequence[SeenPool]:
    """Among pools of one name in several namespaces: those in `has`, whose worker it is, or else the job's own."""
    if routing.worker_name is None:
        return pools
    having = set(has)
    return (
        [pool for pool in pools if pool.key in having]
        or [pool for pool in pools if pool.key.namespace == job.namespace]
        or pools
    )


@dataclass
class _OnTheWay:
    """What was given to pools and does not show in their load yet."""

    jobs: Counter[Key] = field(default_factory=Counter)
    tasks: Counter[Key] = field(default_factory=Counter)


class Router:
    """Routes jobs by what the pools are now. No method awaits: choose, then enter `giving` before awaiting anything."""

    def __init__(self, pools: Objects, dispatch: Dispatch, policy: Policy) -> None:
        self._pools, self._dispatch, self._policy = pools, dispatch, policy
        self._on_the_way = _OnTheWay()
        self._parsed: dict[Key, tuple[_Version, SeenPool]] = {}

    def choose(self, uid: str, job: Key, spec: ScanJobSpec) -> tuple[Key, WorkerPoolSpec] | Refusal:
        """The pool for a job that was not submitted yet, or why there is none. `uid` is the job's."""
        routing = spec.routing or Routing()
        found, refusal = may_have(job, spec, self._seen(), self._policy)
        if refusal is not None:
            return refusal
        loads = {pool.key: self._dispatch.load(str(pool.key)) for pool in found}
        has = [key for key, load in loads.items() if any(w.name == routing.worker_name for w in load.workers)]
        found = list(with_worker(job, routing, found, has))
        key = routing.affinity_key or "" if routing.strategy is RoutingStrategy.AFFINITY else uid
        chosen = choose(routing.strategy, [self._candidate(pool, loads[pool.key]) for pool in found], key=key)
        return next((pool.key, pool.spec) for pool in found if str(pool.key) == chosen.pool and pool.spec)

    def obstacle(self, pool: Key) -> Refusal | None:
        """Why a pool begins no task of the jobs that it was given, when that may go away."""
        obj = self._pools.get(pool)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            message = f"WorkerPool {pool}, which has the job's tasks, was deleted; they wait until it is there again"
            return Refusal(Reason.POOL_NOT_FOUND, f"{message}: create it, or cancel the job", final=False)
        seen = self._see(pool, obj, self._parsed)
        if seen.spec is None or seen.refusal:
            message = f"WorkerPool {pool}, which has the job's tasks, was refused itself: {seen.refusal}"
            return Refusal(Reason.POOL_NOT_ACCEPTED, message, final=False)
        if seen.spec.suspend:
            message = f"WorkerPool {pool}, which has the job's tasks, is suspended; they wait until that is lifted"
            return Refusal(Reason.POOL_SUSPENDED, message, final=False)
        return None

    @contextmanager
    def giving(self, pool: Key, *, tasks: int) -> Iterator[None]:
        """Count a job with so many tasks as the pool's while it is on its way there."""
        counts = self._on_the_way
        counts.jobs[pool] += 1
        counts.tasks[pool] += tasks
        try:
            yield
        finally:
            counts.jobs[pool] -= 1
            counts.tasks[pool] -= tasks

    def _candidate(self, pool: SeenPool, load: PoolLoad) -> Candidate:
        slots = pool.spec.slots_per_worker if pool.spec else 1
        return Candidate(
            pool=str(pool.key),
            waiting=load.queued + load.running + self._on_the_way.tasks[pool.key],
            ready=sum(worker.slots for worker in load.workers if not worker.draining),
            coming=expected_workers(pool.spec) * slots if pool.spec else 0,
            given=self._on_the_way.jobs[pool.key],
            last_job=load.last_job,
        )

    def _seen(self) -> list[SeenPool]:
        """All pools."""
        before, self._parsed = self._parsed, {}
        return [self._see(Key.of(obj), obj, before) for obj in self._pools]

    def _see(self, key: Key, obj: Obj, before: Mapping[Key, tuple[_Version, SeenPool]]) -> SeenPool:
        """A spec is parsed once, because many jobs may wait."""
        meta = obj["metadata"]
        version = (meta["uid"], meta.get("generation", 1), "deletionTimestamp" in meta)
        known = before.get(key)
        pool = known[1] if known is not None and known[0] == version else _seen(key, obj, self._policy)
        self._parsed[key] = (version, pool)
        return pool


def _seen(key: Key, obj: Obj, policy: Policy) -> SeenPool:
    spec, refusal = parse_pool(obj.get("spec") or {}, policy)
    return SeenPool(
        key=key,
        spec=spec,
        refusal=refusal.message if refusal is not None else "",
        deleting=bool(obj["metadata"].get("deletionTimestamp")),
        serves=tuple(spec.allowed_namespaces) if spec is not None else (),
    )
