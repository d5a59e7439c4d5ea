"""Jobs and their tasks in SQL. Functions run inside the caller's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

import msgspec

from mahavishnu_operator.api.wire import TaskResult
from mahavishnu_operator.store.records import JobRecord, JobState, TaskKey, TaskRecord, TaskState

_JOB_COLUMNS = "uid, namespace, name, pool, priority, parallelism, max_attempts, task_timeout_seconds, state"
_TASK_COLUMNS = "job, task, seq, spec, priority, state, attempts, charged, lost"


def add_job(connection: sqlite3.Connection, job: JobRecord, tasks: Sequence[TaskRecord], *, now: float) -> None:
    """Insert what is not there yet. Tasks of a cancelled job come in cancelled."""
    connection.execute(
        f"INSERT INTO jobs ({_JOB_COLUMNS}, added_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",  # noqa: S608
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
            now,
        ),
    )
    connection.executemany(
        "INSERT INTO tasks (job, task, seq, spec, priority, state) VALUES (?, ?, ?, ?, ?, 'queued')"
        " ON CONFLICT DO NOTHING",
        [(t.key.job, t.key.task, t.seq, t.spec, t.priority) for t in tasks],
    )
    (state,) = connection.execute("SELECT state FROM jobs WHERE uid = ?", (job.uid,)).fetchone()
    if JobState(state) is JobState.CANCELLED:
        _cancel_queued(connection, job.uid, now=now)


def set_job_state(connection: sqlite3.Connection, uid: str, state: JobState, *, now: float) -> None:
    """Change the state of a job that is not closed; cancelling also ends its queued tasks."""
    connection.execute("UPDATE jobs SET state = ? WHERE uid = ? AND state <> 'closed'", (state.value, uid))
    if state is JobState.CANCELLED:
        _cancel_queued(connection, uid, now=now)


def _cancel_queued(connection: sqlite3.Connection, uid: str, *, now: float) -> None:
    queued = connection.execute(
        "SELECT task, attempts FROM tasks WHERE job = ? AND state = 'queued' ORDER BY seq", (uid,)
    ).fetchall()
    insert_results(
        connection,
        (
            (
                TaskKey(uid, task),
                attempts,
                TaskState.CANCELLED,
                made_result(TaskKey(uid, task), attempts, "cancelled"),
                now,
            )
            for task, attempts in queued
        ),
    )
    connection.execute("UPDATE tasks SET state = 'cancelled' WHERE job = ? AND state = 'queued'", (uid,))


def made_result(key: TaskKey, attempt: int, status: str, reason: str = "Cancelled", message: str = "") -> bytes:
    """The body of a result that no worker delivered."""
    words = message or "the job was cancelled before a worker took this task"
    return msgspec.json.encode(
        TaskResult(task=str(key), attempt=attempt, status=status, reason=reason, message=words)  # type: ignore[arg-type]
    )


def insert_results(
    connection: sqlite3.Connection, rows: Iterable[tuple[TaskKey, int, TaskState, bytes, float]]
) -> None:
    """Add results; the primary key refuses a second one of a task."""
    connection.executemany(
        "INSERT INTO results (job, task, attempt, state, body, finished_at) VALUES (?, ?, ?, ?, ?, ?)",
        [(key.job, key.task, attempt, state.value, body, at) for key, attempt, state, body, at in rows],
    )


def open_jobs(connection: sqlite3.Connection) -> list[JobRecord]:
    """Jobs that are not closed, oldest first."""
    rows = connection.execute(f"SELECT {_JOB_COLUMNS} FROM jobs WHERE state <> 'closed' ORDER BY added_at, uid")  # noqa: S608
    return [msgspec.convert(dict(zip(_JOB_COLUMNS.split(", "), row, strict=True)), JobRecord) for row in rows]


def tasks_of(connection: sqlite3.Connection, uid: str) -> list[TaskRecord]:
    """All tasks of a job, by seq."""
    rows = connection.execute(f"SELECT {_TASK_COLUMNS} FROM tasks WHERE job = ? ORDER BY seq, task", (uid,))  # noqa: S608
    return [
        TaskRecord(TaskKey(job, task), seq, bytes(spec), priority, TaskState(state), attempts, charged, lost)
        for job, task, seq, spec, priority, state, attempts, charged, lost in rows
    ]


def forget(connection: sqlite3.Connection, uids: Sequence[str]) -> list[str]:
    """Delete these jobs with all that hangs on them; blobs that no job refers to any more."""
    freed: set[str] = set()
    for uid in uids:
        freed.update(sha for (sha,) in connection.execute("SELECT sha256 FROM blob_refs WHERE job = ?", (uid,)))
        connection.execute("DELETE FROM jobs WHERE uid = ?", (uid,))
    still = "SELECT 1 FROM blob_refs WHERE sha256 = ? LIMIT 1"
    return [sha for sha in sorted(freed) if connection.execute(still, (sha,)).fetchone() is None]
