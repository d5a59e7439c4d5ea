"""What tools answer, as published clients read it (names and shapes are theirs); pure.

What must stay true: a failure has `status`, `success` false and `error`, one sentence without a trace of code; a
success says `success` true where clients look for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mahavishnu_operator.api.answers import TaskAnswer
from mahavishnu_operator.api.reasons import JobPhase, Reason
from mahavishnu_operator.client import Job, Pool, PoolState
from mahavishnu_operator.support.text import printable

Shape = dict[str, Any]

MAX_ERROR = 1000  # characters of a sentence
_WELL = (PoolState.RUNNING, PoolState.SCALING, PoolState.STOPPED)
POOL_TYPES = {"local-process": "mahavishnu", "kubernetes": "kubernetes", "session-buddy": "session-buddy"}
# What a result's status is called here.
STATUSES = {"succeeded": "completed", "timed-out": "timeout", "cancelled": "cancelled"}
ECHOED = ("pool_id", "worker_id", "job_id", "workflow_id", "task_id")  # arguments that a failure repeats


def failure(error: str, *, status: str = "failed", given: Mapping[str, Any] | None = None, **more: Any) -> Shape:
    """A failure; `given`: the call's arguments, whose ids it repeats."""
    ids = {name: value[:200] for name in ECHOED if isinstance(value := (given or {}).get(name), str)}
    return {**ids, "status": status, "success": False, "error": sentence(error), **more}


def sentence(text: str) -> str:
    """Words that fit an answer."""
    clean = printable(text.replace("\n", " "))
    return clean if len(clean) <= MAX_ERROR else f"{clean[: MAX_ERROR - 3]}..."


def pool_row(pool: Pool) -> Shape:
    """A row of pool_list."""
    return {
        "pool_id": str(pool.key),
        "pool_type": POOL_TYPES[pool.backend],
        "name": pool.key.name,
        "status": pool.state.value,
        "workers": pool.ready,
        "min_workers": pool.min_workers,
        "max_workers": pool.max_workers,
    }


def pools_health(pools: Sequence[Pool]) -> Shape:
    """Whether pools are healthy: all as wanted, some (degraded) or none (unhealthy)."""
    well = [pool for pool in pools if pool.state in _WELL]
    status = "healthy" if len(well) == len(pools) else "degraded" if well else "unhealthy"
    coming = [pool for pool in pools if pool.state in (PoolState.PENDING, PoolState.INITIALIZING)]
    if status == "unhealthy" and coming:
        status = "degraded"  # nothing is wrong yet
    return {"status": status, "pools_active": len(pools), "pools": [pool_row(pool) for pool in pools]}


def pool_measures(pool: Pool, *, remembered: int = 0) -> Shape:
    """A pool in pool_monitor; `remembered`: answers that a search finds."""
    idle = round(pool.idle_seconds(), 3)
    return {
        "status": pool.state.value,
        "message": sentence(pool.message),
        "pending_tasks": pool.pending_tasks,
        "running_tasks": pool.running_tasks,
        "completed_tasks": pool.completed,
        "failed_tasks": pool.failed,
        "current_workers": pool.ready,
        "busy_workers": pool.busy,
        "min_workers": pool.min_workers,
        "max_workers": pool.max_workers,
        "idle_time": idle,
        "idle_seconds": idle,
        "memory_count": remembered,
    }


def worker_id(worker: str) -> str:
    """`namespace/name` of `namespace/pool/name`."""
    namespace, _, rest = worker.partition("/")
    return f"{namespace}/{rest.rpartition('/')[2]}" if worker else ""


def executed(job: Job, answer: TaskAnswer | None, *, stdout: str = "", stderr: str = "") -> Shape:
    """What a command came to. `answer` None: it was never begun, and the job says why."""
    began = answer is not None and bool(answer.status)
    status = STATUSES.get(answer.status, "failed") if answer is not None and began else _status_of(job)
    if status == "cancelled":
        status = _status_of(job)
    success = status == "completed"
    message = (answer.message if answer is not None else "") or job.message
    return {
        "pool_id": job.pool,
        "worker_id": worker_id(answer.worker) if answer is not None else "",
        "task_id": str(job.key),
        "status": status,
        "success": success,
        "output": stdout,
        "error": None if success else stderr.strip() or sentence(message) or f"the command ended as {status}",
        "stderr": stderr,
        "reason": (answer.reason if answer is not None else "") or job.reason,
        "exit_code": answer.exit_code if answer is not None else None,
        "duration": answer.duration_seconds if answer is not None else 0.0,
        "timestamp": ended_at(job).isoformat(),
    }


def ended_at(job: Job) -> datetime:
    """When a job ended; of one that has not, when it was made."""
    status = job.obj.get("status") or {}
    when = status.get("completionTime") or job.obj["metadata"]["creationTimestamp"]
    return datetime.fromisoformat(str(when)).astimezone(UTC)


def _status_of(job: Job) -> str:
    if job.reason in (Reason.TIMED_OUT, Reason.QUEUE_TIMED_OUT):
        return "timeout"
    return "cancelled" if job.phase is JobPhase.CANCELLED else "failed"


def job_row(job: Job) -> Shape:
    """A ScanJob in scan_status and scan_list."""
    tasks = job.tasks
    return {
        "job_id": str(job.key),
        "status": job.phase.value.lower(),
        "verdict": job.verdict.lower(),
        "pool_id": job.pool,
        "tasks_total": int(tasks.get("total", 0)),
        "tasks_done": sum(int(tasks.get(name, 0)) for name in ("succeeded", "failed", "cached", "cancelled")),
        "findings": (job.findings or {}).get("total"),
        "findings_by_level": dict((job.findings or {}).get("bySeverity") or {}),
        "reason": job.reason,
        "message": sentence(job.message),
        "ended": job.ended,
    }
