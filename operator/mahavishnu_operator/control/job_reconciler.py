"""Brings each ScanJob to its end: looks, asks decide_job, does the step, looks again, writes the status.

The thin shell around control.jobs. What must stay true: a step is done before a status says so; the terminal status
is written before the dispatcher drops the job; a job whose object has gone is forgotten, and its tasks are stopped; one
whose tasks were edited before a status said that they are fixed is forgotten too, and begun anew.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from mahavishnu_operator.api.reasons import EventReason, JobPhase
from mahavishnu_operator.api.rules import FROZEN
from mahavishnu_operator.api.scanjob import ScanJobSpec
from mahavishnu_operator.api.workerpool import WorkerPoolSpec
from mahavishnu_operator.dispatch.protocol import Dispatch, JobProgress
from mahavishnu_operator.resources.protocol import SCAN_JOB, Key, Obj, Resources
from mahavishnu_operator.scan.model import Plan
from mahavishnu_operator.store.records import JobState, SourceRecord
from mahavishnu_operator.support.errors import Conflict, NotFound

from .acceptance import (
    Policy,
    Refusal,
    allowed_commands,
    named_pool,
    parse_job,
    parse_pool,
    refuse_by_pool,
    resolve_path,
)
from .aggregation import Aggregator
from .conditions import seconds_of
from .events import Happening, Recorder, job_happenings
from .job_status import job_status
from .jobs import Aggregate, JobDecision, JobView, PlanOutcome, Step, decide_job
from .objects import Objects
from .routing import Router
from .runtime import earliest
from .sourcing import Sourcing
from .status import StatusWriter
from .tasks import command_rows, job_record, origin_problem, plan_row, shard_rows, source_of_tasks

log = structlog.get_logger(__name__)

PASSES = 12  # more steps than any job has between two events


@dataclass
class _Memory:
    """What is known of one job between reconciles; all of it can be had again by looking."""

    uid: str
    generation: int = -1
    spec: ScanJobSpec | None = None
    refusal: Refusal | None = None
    plan: Plan | None = None
    plan_error: str = ""
    aggregate: Aggregate | None = None
    stored: SourceRecord | None = None  # the archive of the files
    submitted: Mapping[str, Any] | None = None  # what the tasks were made from, once they were submitted

    def be_brief(self) -> None:
        """It has ended, and is kept for a while: what is looked at once more by then is read again."""
        self.generation, self.spec, self.refusal = -1, None, None
        self.stored = self.submitted = None

    @property
    def outcome(self) -> PlanOutcome | None:
        """How planning ended, once it has."""
        if self.plan is None and not self.plan_error:
            return None
        if self.plan is None:
            return PlanOutcome(error=self.plan_error)
        return PlanOutcome(shards=len(self.plan.shards), origin=self.plan.origin)


@dataclass(frozen=True)
class _Look:
    """One look: the view to decide on, and what acting on it needs. `root` is the folder with links followed."""

    view: JobView
    pool_key: Key | None = None
    pool: WorkerPoolSpec | None = None
    root: str = ""


class JobReconciler:
    """`reconcile(key)` is level-based: call it for any reason, as often as wished, one call a key at a time.

    `dispatcher`: how people reach it, as statuses say.
    """

    def __init__(
        self,
        *,
        objects: Objects,
        pools: Objects,
        resources: Resources,
        dispatch: Dispatch,
        aggregator: Aggregator,
        writer: StatusWriter,
        recorder: Recorder,
        policy: Policy,
        sourcing: Sourcing,
        dispatcher: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._objects, self._pools, self._resources, self._dispatch = objects, pools, resources, dispatch
        self._aggregator, self._writer, self._recorder = aggregator, writer, recorder
        self._policy, self._sourcing, self._dispatcher, self._clock = policy, sourcing, dispatcher, clock
        self._router = Router(pools, dispatch, policy)
        self._memory: dict[Key, _Memory] = {}

    async def reconcile(self, key: Key) -> float | None:
        """Do what is needed now; seconds until the next look, or None."""
        obj = self._objects.get(key)
        memory = self._memory.get(key)
        if memory is not None and (obj is None or memory.uid != obj["metadata"]["uid"]):
            await self._forget(key, memory)
            memory = None
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            return None
        if memory is not None and self._was_edited(obj, memory):
            log.info("the job was edited before it was planned: it begins anew", job=str(key))
            await self._forget(key, memory)
            memory = None
        if memory is None:
            memory = self._memory[key] = _Memory(obj["metadata"]["uid"])
        for _ in range(PASSES):
            look = await self._look(key, obj, memory)
            decision = decide_job(look.view)
            match decision.step:
                case Step.WAIT:
                    later = await self._write(obj, look.view, decision)
                    if look.view.phase.terminal:
                        memory.be_brief()
                    return earliest(later, decision.requeue_after)
                case Step.FINISH:
                    await self._write(obj, look.view, decision)
                    if not JobPhase(self._writer.effective(obj).get("phase", "Pending")).terminal:
                        return None  # the object has gone meanwhile; the watch will say so
                    memory.aggregate = memory.plan = None
                case Step.EXPIRE:
                    return await self._expire(key, obj, memory)
                case _:
                    await self._do(key, obj, memory, look, decision)
        log.warning("a job took more steps than expected; it goes on in a moment", job=str(key))
        return 1.0

    def _was_edited(self, obj: Obj, memory: _Memory) -> bool:
        """Whether the spec is another than the tasks were made from: the server allows it until a status is written."""
        submitted = memory.submitted
        return submitted is not None and submitted != _frozen_part(obj) and self._writer.never_written(obj)

    async def _look(self, key: Key, obj: Obj, memory: _Memory) -> _Look:
        meta = obj["metadata"]
        generation = meta.get("generation", 1)
        if memory.generation != generation:
            memory.spec, memory.refusal = parse_job(obj.get("spec") or {}, self._policy)
            memory.generation = generation
        spec, refusal = memory.spec, memory.refusal
        progress = self._dispatch.progress(memory.uid)
        status = self._writer.effective(obj)
        terminal = JobPhase(status.get("phase") or JobPhase.PENDING).terminal
        plan_ended = spec is not None and spec.scan is not None and progress is not None and _plan_ended(progress)
        if spec is not None and (plan_ended or _lacks_commit(spec, status, progress)) and not terminal:
            await self._read_plan(memory, spec)
        bring = None
        if terminal:
            await self._sourcing.stop(memory.uid)
        elif refusal is None and (progress is None or plan_ended or not (memory.stored or status.get("source"))):
            bring, memory.stored = await self._sourcing.look(key, obj)
        pool_key = _pool_key(key, spec, progress)
        pool, root = None, ""
        if spec is not None and not terminal and (progress is None or plan_ended):
            outside = None
            if spec.source is not None and spec.source.path is not None:
                root, outside = await asyncio.to_thread(resolve_path, spec.source.path, self._policy)
            # nothing is awaited from here to the submission: the pool is chosen by what its load is then
            pool_key, pool, refusal = self._find_pool(key, memory.uid, spec, pool_key)
            if refusal is None or not refusal.final:
                refusal = outside or refusal
        view = JobView(
            spec=spec,
            now=self._clock(),
            created_at=seconds_of(meta["creationTimestamp"]),
            generation=generation,
            pool=str(pool_key or ""),
            refusal=refusal,
            obstacle=self._router.obstacle(pool_key) if pool_key is not None and not terminal and progress else None,
            status=status,
            progress=progress,
            plan=memory.outcome,
            aggregate=memory.aggregate,
            source=bring,
            stored=memory.stored,
            dispatcher=self._dispatcher,
        )
        return _Look(view, pool_key, pool, root)

    async def _read_plan(self, memory: _Memory, spec: ScanJobSpec) -> None:
        if memory.outcome is None:
            memory.plan, memory.plan_error = await self._aggregator.read_plan(memory.uid)
            problem = origin_problem(spec, memory.plan) if memory.plan is not None else ""
            if problem:
                memory.plan, memory.plan_error = None, problem

    def _find_pool(
        self, key: Key, uid: str, spec: ScanJobSpec, named: Key | None
    ) -> tuple[Key | None, WorkerPoolSpec | None, Refusal | None]:
        """The pool that is to do the work, or the refusal that says why it is not to."""
        if named is None:
            chosen = self._router.choose(uid, key, spec)
            return (None, None, chosen) if isinstance(chosen, Refusal) else (*chosen, None)
        pool_obj = self._pools.get(named)
        pool_spec = (pool_obj.get("spec") or {}) if pool_obj is not None else None
        refusal = refuse_by_pool(key, spec, named, pool_spec, self._policy)
        return named, parse_pool(pool_spec, self._policy)[0] if pool_spec is not None else None, refusal

    async def _do(self, key: Key, obj: Obj, memory: _Memory, look: _Look, decision: JobDecision) -> None:
        match decision.step:
            case Step.SUBMIT_PLAN | Step.SUBMIT_TASKS | Step.SUBMIT_SHARDS:
                await self._submit(key, memory, look, decision.step)
                memory.submitted = _frozen_part(obj)
            case Step.PREPARE:
                await self._prepare(key, memory, look)
            case Step.SUSPEND:
                await self._dispatch.set_job_state(memory.uid, JobState.SUSPENDED)
            case Step.RESUME:
                await self._dispatch.set_job_state(memory.uid, JobState.OPEN)
            case Step.CANCEL:
                await self._dispatch.set_job_state(memory.uid, JobState.CANCELLED)
            case Step.CLOSE:
                await self._dispatch.set_job_state(memory.uid, JobState.CLOSED)
            case Step.AGGREGATE:
                if look.view.spec is not None:
                    if look.view.spec.scan is not None:  # of commands it takes no time worth a word
                        await self._write(obj, look.view, decision)
                    memory.aggregate = await self._aggregator.aggregate(memory.uid, key, look.view.spec)
            case step:
                raise ValueError(f"{step} is not a step of this method")

    async def _prepare(self, key: Key, memory: _Memory, look: _Look) -> None:
        if memory.spec is None or look.pool is None or look.pool_key is None or look.view.source is None:
            raise ValueError(f"ScanJob {key} has no pool that its files are brought for")  # decide_job waits for one
        number = look.view.source.start
        await self._sourcing.start(key, memory.uid, memory.spec, number=number, pool=(look.pool_key, look.pool))
        log.info("a Job fetches the files", job=str(key), number=number)

    async def _submit(self, key: Key, memory: _Memory, look: _Look, step: Step) -> None:
        spec, pool, pool_key = memory.spec, look.pool, look.pool_key
        if spec is None or pool is None or pool_key is None:
            raise ValueError(f"ScanJob {key} has no pool to be submitted to")  # decide_job waits for one
        job = job_record(memory.uid, key, spec, pool_key)
        source = source_of_tasks(spec, look.view.stored, memory.plan)
        if step is Step.SUBMIT_PLAN and spec.scan is not None:
            rows = [plan_row(memory.uid, look.root, spec.scan, pool, source=source)]
        elif step is Step.SUBMIT_SHARDS and memory.plan is not None:
            rows = shard_rows(memory.uid, look.root, memory.plan, pool, source=source)
        else:
            allowed = allowed_commands(pool, self._policy)
            rows = command_rows(memory.uid, spec.tasks or (), cwd=look.root, allowed=allowed, pool=pool)
        with self._router.giving(pool_key, tasks=len(rows)):
            await self._dispatch.submit(job, rows)
        log.info("tasks submitted", job=str(key), pool=str(pool_key), step=step.value, tasks=len(rows))

    async def _write(self, obj: Obj, view: JobView, decision: JobDecision) -> float | None:
        status = job_status(view, decision)
        old = self._writer.effective(obj)
        may_end_soon = view.spec is not None and view.spec.scan is None and view.progress is not None
        at_once = decision.step is Step.FINISH
        later = await self._writer.write(obj, status, at_once=at_once, may_end_soon=may_end_soon)
        if later is None:
            self._recorder.record(obj, job_happenings(old, status))
        return later

    async def _expire(self, key: Key, obj: Obj, memory: _Memory) -> float | None:
        ttl = memory.spec.ttl_seconds_after_finished if memory.spec is not None else None
        message = f"deleted {ttl} s after its end (spec.ttlSecondsAfterFinished)"
        self._recorder.record(obj, [Happening(EventReason.EXPIRED, message)])
        try:
            await self._resources.delete(SCAN_JOB, key, uid=memory.uid)
        except (NotFound, Conflict):
            log.debug("an expired job had gone already", job=str(key))
        await self._forget(key, memory)
        return None

    async def _forget(self, key: Key, memory: _Memory) -> None:
        progress = self._dispatch.progress(memory.uid)
        if progress is not None and progress.running and progress.state is not JobState.CANCELLED:
            # a worker hears of a cancel at once, and of a task it has lost only when it renews
            await self._dispatch.set_job_state(memory.uid, JobState.CANCELLED)
        await self._dispatch.forget([memory.uid])
        self._writer.forget(memory.uid)
        self._memory.pop(key, None)


def _pool_key(job: Key, spec: ScanJobSpec | None, progress: JobProgress | None) -> Key | None:
    """The pool that the job was given to, or that it names; None: it is to be routed."""
    if progress is not None and progress.pool:
        return Key(*progress.pool.split("/", 1))
    return named_pool(job, spec) if spec is not None else None


def _frozen_part(obj: Obj) -> dict[str, Any]:
    """What of a spec cannot change once planning has begun."""
    spec = obj.get("spec") or {}
    return {name: spec[name] for name in FROZEN if name in spec}


def _lacks_commit(spec: ScanJobSpec, status: Mapping[str, Any], progress: JobProgress | None) -> bool:
    """Whether tasks of a commit were made, by an operator that died before a status named it."""
    planned = spec.scan is not None and progress is not None and progress.total > 1
    return planned and spec.source is not None and spec.source.git is not None and not status.get("source")


def _plan_ended(progress: JobProgress) -> bool:
    return progress.total == 1 and progress.done and progress.state is not JobState.CANCELLED
