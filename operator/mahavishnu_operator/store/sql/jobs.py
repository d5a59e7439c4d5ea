"""Jobs and their tasks in SQL. Functions run inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mahavishnu_operator.store.records import JobRecord, JobState, TaskKey, TaskRecord, TaskState
from mahavishnu_operator.support.errors import InvalidInput
from mahavishnu_operator.support.group_commit import Session

from . import results
from .references import named_in, tie, tied_to

_JOB_COLUMNS = "uid, namespace, name, pool, priority, parallelism, max_attempts, task_timeout_seconds, state, worker"
_TASK_COLUMNS = "job, task, seq, spec, priority, state, attempts, charged, lost"


def add_job(connection: Session, job: JobRecord, tasks: Sequence[TaskRecord], *, now: float) -> None:
    """Insert what is not there yet. Tasks of a cancelled job come in cancelled."""
    if strange := [str(task.key) for task in tasks if task.key.job != job.uid]:
        raise InvalidInput(f"job {job.uid} was given tasks of another job: {', '.join(strange[:5])}")
    connection.execute(
        f"INSERT INTO jobs ({_JOB_COLUMNS}, added_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",  # noqa: S608
        (
            job.uid,
            job.namespace,
            job.name,
            job.pool,
            job.priority,
            job.parallelism,
            job.max_attempts,
            job.task_timeout_seconds,
            job.state.value,
            job.worker,
            now,
        ),
    )
    connection.executemany(
        "INSERT INTO tasks (job, task, seq, spec, priority, state) VALUES (?, ?, ?, ?, ?, 'queued')"
        " ON CONFLICT DO NOTHING",
        [(t.key.job, t.key.task, t.seq, t.spec, t.priority) for t in tasks],
    )
    tie(connection, [(sha, job.uid) for task in tasks for sha in named_in(task.spec)])
    cancel_queued_if_cancelled(connection, job.uid, now=now)


def set_job_state(connection: Session, uid: str, state: JobState, *, now: float) -> None:
    """Change the state of a job that is not closed; cancelling also ends its queued tasks."""
    connection.execute("UPDATE jobs SET state = ? WHERE uid = ? AND state <> 'closed'", (state.value, uid))
    cancel_queued_if_cancelled(connection, uid, now=now)


def cancel_queued_if_cancelled(connection: Session, uid: str, *, now: float) -> None:
    """Give every queued task of a cancelled job its result; of any other job, nothing."""
    queued = connection.execute(
        "SELECT t.task, t.attempts FROM tasks t JOIN jobs j ON j.uid = t.job"
        " WHERE t.job = ? AND j.state = 'cancelled' AND t.state = 'queued' ORDER BY t.seq",
        (uid,),
    ).fetchall()
    words = "the job was cancelled while this task waited for a worker"
    results.insert(
        connection,
        (
            results.made(TaskKey(uid, task), attempts, status="cancelled", reason="Cancelled", message=words, at=now)
            for task, attempts in queued
        ),
    )
    connection.executemany(
        "UPDATE tasks SET state = 'cancelled' WHERE job = ? AND task = ?", [(uid, task) for task, _ in queued]
    )


def open_jobs(connection: Session) -> list[JobRecord]:
    """Jobs that are not closed, oldest first."""
    rows = connection.execute(f"SELECT {_JOB_COLUMNS} FROM jobs WHERE state <> 'closed' ORDER BY added_at, uid")  # noqa: S608
    return [msgspec.convert(dict(zip(_JOB_COLUMNS.split(", "), row, strict=True)), JobRecord) for row in rows]


def tasks_of(connection: Session, uid: str) -> list[TaskRecord]:
    """All tasks of a job, by seq."""
    rows = connection.execute(f"SELECT {_TASK_COLUMNS} FROM tasks WHERE job = ? ORDER BY seq, task", (uid,))  # noqa: S608
    return [_task(*row) for row in rows]


def task_of(connection: Session, key: TaskKey) -> TaskRecord | None:
    """One task."""
    row = connection.execute(
        f"SELECT {_TASK_COLUMNS} FROM tasks WHERE job = ? AND task = ?",  # noqa: S608
        (key.job, key.task),
    ).fetchone()
    return None if row is None else _task(*row)


def _task(
    job: str,
    task: str,
    seq: int,
    spec: bytes,
    priority: int,
    state: str,
    attempts: int,
    charged: int,
    lost: int,
) -> TaskRecord:
    return TaskRecord(TaskKey(job, task), seq, bytes(spec), priority, TaskState(state), attempts, charged, lost)


def forget(connection: Session, uids: Sequence[str]) -> set[str]:
    """Delete these jobs with all that hangs on them; the blobs that they named."""
    blobs = tied_to(connection, uids)
    connection.executemany("DELETE FROM jobs WHERE uid = ?", [(uid,) for uid in uids])
    connection.executemany("DELETE FROM sources WHERE job = ?", [(uid,) for uid in uids])
    return blobs
