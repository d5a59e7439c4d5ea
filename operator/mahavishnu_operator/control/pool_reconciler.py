"""Brings each WorkerPool to what its spec says: looks, asks decide_pool, acts, writes the status.

The thin shell around control.pools. What must stay true: it keeps in memory only what cannot be seen (how starts
went, whom it asked to leave), and losing that costs a back-off at most; a worker is stopped only after the
dispatcher said, on being asked to drain it, that it holds nothing.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from mahavishnu_operator.api.reasons import ConditionType, EventReason
from mahavishnu_operator.api.workerpool import Backend as BackendName
from mahavishnu_operator.api.workerpool import WorkerPoolSpec
from mahavishnu_operator.backends.protocol import Backend, BackendError, ObservedWorker, PoolTemplate, WorkerPhase
from mahavishnu_operator.dispatch.protocol import NO_DEMAND, Dispatch
from mahavishnu_operator.resources.protocol import Key, Obj, Resources

from .acceptance import Policy, Refusal, parse_pool
from .census import PoolState
from .conditions import is_true
from .crashes import CrashHistory
from .events import Happening, Recorder, pool_happenings
from .objects import Objects
from .per_task import decide_per_task, is_per_task
from .pool_status import pool_status
from .pools import PoolDecision, decide_pool, template_revision
from .runtime import earliest, side_by_side
from .scaling import Scaler
from .status import StatusWriter

log = structlog.get_logger(__name__)

BACKEND_RETRY_SECONDS = 5.0
NO_WORKERS = WorkerPoolSpec(backend=BackendName.LOCAL_PROCESS, suspend=True)  # of a pool whose spec cannot be read
PASSES = 4  # a pass acts, the next one sees what came of it


@dataclass
class _Memory:
    """What cannot be seen by looking."""

    crash: CrashHistory = field(default_factory=CrashHistory)
    asked_to_leave: set[str] = field(default_factory=set)
    unregistered_since: dict[str, float] = field(default_factory=dict)
    backend_error: str = ""
    error_at: float = 0.0
    uid: str = ""
    died: int = 0  # workers, and no status says so yet
    revision: str = ""
    read: _Read | None = None


@dataclass(frozen=True, slots=True)
class _Read:
    """A spec as it was read at one generation, which counts its changes."""

    uid: str
    generation: int
    spec: WorkerPoolSpec | None
    refusal: Refusal | None
    revision: str


def fresh_name(pool: str) -> str:
    """A worker's name, never used before: the pool's, and 40 random bits in base 32."""
    return f"{pool}-{base64.b32encode(secrets.token_bytes(5)).decode().lower()}"


class PoolReconciler:
    """`reconcile(key)` is level-based: call it for any reason, as often as wished, one call a key at a time."""

    def __init__(
        self,
        *,
        objects: Objects,
        resources: Resources,
        dispatch: Dispatch,
        backends: Mapping[str, Backend],
        writer: StatusWriter,
        recorder: Recorder,
        policy: Policy,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._objects, self._dispatch, self._backends = objects, dispatch, backends
        self._scaler = Scaler(resources)
        self._writer, self._recorder, self._policy, self._clock = writer, recorder, policy, clock
        self._memory: dict[Key, _Memory] = {}

    async def reconcile(self, key: Key) -> float | None:
        """Do what is needed now; seconds until the next look, or None."""
        obj = self._objects.get(key)
        if obj is not None and obj["metadata"].get("deletionTimestamp"):
            obj = None
        memory = self._memory.setdefault(key, _Memory())
        spec, refusal = None, None
        if obj is not None:
            if memory.uid != obj["metadata"]["uid"]:
                memory.uid, memory.died = obj["metadata"]["uid"], 0
            memory.read = self._read(obj, memory.read)
            spec, refusal = memory.read.spec, memory.read.refusal
        for _ in range(PASSES):
            state = await self._look(key, memory, spec, refusal, exists=obj is not None)
            decision = decide_per_task(state) if is_per_task(state.spec) else decide_pool(state)
            memory.crash = decision.crash
            if not await self._act(key, memory, obj, spec, state, decision):
                break
        if obj is None:
            return await self._gone(key, state, decision)
        old = self._writer.effective(obj)
        scaling = self._scaler.decide(key, obj, state, decision, old=old)
        status = pool_status(
            state,
            decision,
            name=key.name,
            generation=obj["metadata"].get("generation", 1),
            old=old,
            scaling=self._scaler.shown(key, scaling),
            died=memory.died,
        )
        flipped = is_true(old, ConditionType.READY) != is_true(status, ConditionType.READY)
        later = await self._writer.write(obj, status, at_once=flipped)
        if later is None:
            memory.died = 0
        self._recorder.record(obj, pool_happenings(old, status))
        again = await self._scaler.carry_out(key, obj, scaling, version=self._writer.version(obj))
        return earliest(later, decision.requeue_after, again)

    def _read(self, obj: Obj, before: _Read | None) -> _Read:
        uid, generation = obj["metadata"]["uid"], obj["metadata"].get("generation", 1)
        if before is not None and (before.uid, before.generation) == (uid, generation):
            return before
        spec, refusal = parse_pool(obj.get("spec") or {}, self._policy)
        return _Read(uid, generation, spec, refusal, self._revision(spec or NO_WORKERS, uid))

    async def _look(
        self, key: Key, memory: _Memory, spec: WorkerPoolSpec | None, refusal: Refusal | None, *, exists: bool
    ) -> PoolState:
        now = self._clock()
        observed: tuple[ObservedWorker, ...] = ()
        error = memory.backend_error if 0 <= now - memory.error_at < BACKEND_RETRY_SECONDS else ""
        for backend in self._backends.values():
            try:
                observed += tuple(await backend.observe(key))
            except BackendError as problem:
                error = self._note_error(memory, problem)
        load = self._dispatch.load(str(key))
        names = {worker.name for worker in observed}
        registered = {view.name for view in load.workers}
        memory.asked_to_leave &= names
        missing = {w.name for w in observed if w.phase is WorkerPhase.RUNNING and w.name not in registered}
        memory.unregistered_since = {name: memory.unregistered_since.get(name, now) for name in missing}
        if exists and spec is None:
            spec = NO_WORKERS
        revision = memory.read.revision if exists and memory.read is not None else ""
        if revision != memory.revision:  # how starts went says nothing about those from another template
            memory.revision, memory.crash = revision, CrashHistory()
        return PoolState(
            spec=spec if exists else None,
            now=now,
            revision=revision,
            refusal=refusal,
            observed=observed,
            load=load,
            demand=self._dispatch.demand(str(key), names) if is_per_task(spec) else NO_DEMAND,
            crash=memory.crash,
            asked_to_leave=frozenset(memory.asked_to_leave),
            unregistered_since=memory.unregistered_since,
            backend_error=error,
            scaled=self._scaler.written(key),
        )

    def _revision(self, spec: WorkerPoolSpec, uid: str) -> str:
        backend = self._backend_of(spec)
        return template_revision(spec, uid, installation=backend.installation if backend is not None else "")

    async def _act(
        self,
        key: Key,
        memory: _Memory,
        obj: Obj | None,
        spec: WorkerPoolSpec | None,
        state: PoolState,
        decision: PoolDecision,
    ) -> bool:
        """Carry the decision out; whether anything changed that another look would show."""
        backend = self._backend_of(spec)
        grace = float(spec.drain.grace_seconds) if spec is not None else 60.0
        by_name = {worker.name: worker for worker in state.observed}
        removes = [self._remove(key, memory, obj, by_name[name]) for name in decision.remove]
        await side_by_side(removes)
        changed = bool(removes)
        for name in decision.stop:
            memory.died += name in decision.census.stuck and name not in memory.asked_to_leave
            memory.asked_to_leave.add(name)
            for each in self._backends.values():
                await each.stop(key, name, grace_seconds=0.0 if name in decision.census.stuck else grace)
            changed = True
        for name in decision.drain:
            if await self._dispatch.begin_drain(pool=str(key), worker=name):
                for each in self._backends.values():
                    await each.stop(key, name, grace_seconds=grace)
            changed = changed or name not in memory.asked_to_leave
            memory.asked_to_leave.add(name)
        if obj is not None and spec is not None and backend is not None and state.refusal is None:
            template = PoolTemplate(
                key=key,
                uid=memory.uid,
                slots=spec.slots_per_worker,
                revision=state.revision,
                task_seconds=state.demand.longest_seconds,
                spec=obj.get("spec") or {},
            )
            changed = await self._start(memory, backend, template, decision.start) or changed
        return changed

    async def _remove(self, key: Key, memory: _Memory, obj: Obj | None, worker: ObservedWorker) -> None:
        await self._dispatch.worker_gone(
            pool=str(key),
            worker=worker.name,
            message=worker.message,
            failure=worker.failure,
            reason=worker.ended_as,
        )
        for backend in self._backends.values():
            await backend.remove(key, worker.name)
        if worker.phase is WorkerPhase.FAILED and obj is not None and worker.name not in memory.asked_to_leave:
            failed = Happening(EventReason.WORKER_FAILED, f"worker {worker.name} {worker.message}", warning=True)
            self._recorder.record(obj, [failed])
            memory.died += 1

    async def _start(self, memory: _Memory, backend: Backend, template: PoolTemplate, number: int) -> bool:
        """Prepare the pool and start so many workers; whether another look would show a change."""
        try:
            await backend.prepare(template)
            await side_by_side([backend.start(template, fresh_name(template.key.name)) for _ in range(number)])
        except BackendError as problem:
            self._note_error(memory, problem)
            return True
        if number:
            memory.backend_error = ""
        return number > 0

    def _note_error(self, memory: _Memory, problem: BackendError) -> str:
        log.warning("a backend failed", error=str(problem))
        memory.backend_error, memory.error_at = str(problem), self._clock()
        return memory.backend_error

    def _backend_of(self, spec: WorkerPoolSpec | None) -> Backend | None:
        return self._backends.get(spec.backend.value) if spec is not None else None

    async def _gone(self, key: Key, state: PoolState, decision: PoolDecision) -> float | None:
        """The pool does not exist: forget it once its workers have gone too."""
        if not state.observed:
            memory = self._memory.pop(key)
            self._writer.forget(memory.uid)
            self._scaler.forget(key)
            return None
        return earliest(decision.requeue_after, 1.0)
