"""From a ScanJob's spec to the rows the dispatcher queues: pure.

What must stay true: the same spec gives the same rows (ids, order, bodies), so that submitting twice adds nothing;
no row carries a command that the pool does not allow.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mahavishnu_operator.api.scanjob import ChunkingMode, Scan, ScanJobSpec, Task
from mahavishnu_operator.api.wire import (
    ArchiveSource,
    CommandTask,
    GitSource,
    NoopTask,
    PlanTask,
    ScanTask,
    SourceSpec,
    TaskSpec,
)
from mahavishnu_operator.api.workerpool import WorkerPoolSpec
from mahavishnu_operator.resources.protocol import Key
from mahavishnu_operator.scan.git_names import is_commit
from mahavishnu_operator.scan.model import Origin, Plan
from mahavishnu_operator.store.records import JobRecord, SourceRecord, TaskKey, TaskRecord

from .acceptance import NOOP
from .jobs import PLAN_TASK
from .pools import expected_workers

BINS_PER_SLOT = 3  # two to three bins a slot keep all busy to the end without paying too many starts
MIB = 1024 * 1024


def source_of_tasks(spec: ScanJobSpec, stored: SourceRecord | None, plan: Plan | None) -> SourceSpec | None:
    """Where workers get the files; None: from a folder. Once there is a plan, all look at the commit that it names."""
    if stored is not None:
        return ArchiveSource(stored.sha256)
    git = spec.source.git if spec.source is not None else None
    if git is None:
        return None
    if plan is not None and plan.origin is not None:
        return GitSource(git.url, plan.origin.commit)
    return GitSource(git.url, git.revision, git.base_revision or "")


def origin_problem(spec: ScanJobSpec, plan: Plan) -> str:
    """What is wrong with the commits that a plan names; it was made beside hostile code."""
    origin = plan.origin or Origin()
    if spec.source is None or spec.source.git is None or origin.archive_sha256:
        return ""
    if is_commit(origin.commit) and (is_commit(origin.base_commit) or not origin.base_commit):
        return ""
    return "the plan does not name the commit that it was made of; a worker of this version does: upgrade the pool's"


def job_record(uid: str, key: Key, spec: ScanJobSpec, pool: Key) -> JobRecord:
    """The job as the dispatcher needs it."""
    return JobRecord(
        uid=uid,
        namespace=key.namespace,
        name=key.name,
        pool=str(pool),
        priority=spec.priority,
        parallelism=spec.parallelism or 0,
        max_attempts=spec.max_attempts,
        task_timeout_seconds=float(spec.task_timeout_seconds),
        worker=(spec.routing.worker_name or "") if spec.routing is not None else "",
    )


def plan_row(uid: str, root: str, scan: Scan, pool: WorkerPoolSpec, *, source: SourceSpec | None = None) -> TaskRecord:
    """The task that makes the plan; bins follow the workers that the pool will have. `source`: in place of a folder."""
    slots = max(1, expected_workers(pool)) * pool.slots_per_worker
    body = PlanTask(
        root=root,
        tools=tuple(scan.tools),
        include=tuple(scan.include),
        exclude=tuple(scan.exclude),
        bins=BINS_PER_SLOT * slots,
        chunk_size=scan.chunking.size if scan.chunking.mode is ChunkingMode.FIXED else 0,
        source=source,
    )
    return _row(uid, PLAN_TASK, 0, body)


def shard_rows(
    uid: str, root: str, plan: Plan, pool: WorkerPoolSpec, *, source: SourceSpec | None = None
) -> list[TaskRecord]:
    """One task a shard, costliest first, after the plan. `source`: in place of a folder."""
    memory = memory_limit(pool)
    return [
        _row(
            uid,
            shard.id,
            seq,
            ScanTask(
                tool=shard.tool,
                root=root,
                files_sha256=shard.files_sha256,
                file_count=shard.file_count,
                memory_limit_bytes=memory,
                source=source,
            ),
        )
        for seq, shard in enumerate(plan.shards, start=1)
    ]


def command_rows(
    uid: str, tasks: Sequence[Task], *, cwd: str, allowed: Sequence[str], pool: WorkerPoolSpec
) -> list[TaskRecord]:
    """One task an entry of spec.tasks, in order."""
    return [
        _row(uid, task.id, seq, _command(task, cwd=cwd, allowed=allowed, pool=pool), task.priority)
        for seq, task in enumerate(tasks)
    ]


def _command(task: Task, *, cwd: str, allowed: Sequence[str], pool: WorkerPoolSpec) -> TaskSpec:
    if not task.command:
        raise ValueError(f"task {task.id} has no command")
    if task.command[0] == NOOP:
        return NoopTask()
    limit = {} if pool.local_process is None else {"output_limit_bytes": pool.local_process.output_limit_bytes}
    return CommandTask(
        argv=tuple(task.command), cwd=cwd, allowed=tuple(allowed), memory_limit_bytes=memory_limit(pool), **limit
    )


def memory_limit(pool: WorkerPoolSpec) -> int:
    """Bytes of resident memory a task of this pool may use; 0: no limit of ours."""
    settings = pool.local_process
    return settings.memory_limit_mib * MIB if settings is not None and settings.memory_limit_mib else 0


def _row(uid: str, task: str, seq: int, body: TaskSpec, priority: int = 0) -> TaskRecord:
    return TaskRecord(key=TaskKey(uid, task), seq=seq, spec=msgspec.json.encode(body), priority=priority)
