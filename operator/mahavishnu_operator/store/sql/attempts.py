"""The life of an attempt in SQL: granted, then exactly one of delivered, ended without an answer, superseded."""

from __future__ import annotations

from collections.abc import Sequence

from mahavishnu_operator.store.records import (
    AttemptEnd,
    GrantRecord,
    TaskKey,
    TaskState,
)
from mahavishnu_operator.support.errors import Conflict
from mahavishnu_operator.support.group_commit import Session
from mahavishnu_operator.support.text import storable

from . import results
from .jobs import cancel_queued_if_cancelled


def record_grants(connection: Session, grants: Sequence[GrantRecord]) -> None:
    """Mark tasks leased and open their attempts. Conflict when one of them is not queued: nothing is written."""
    changed = connection.executemany(
        "UPDATE tasks SET state = 'leased', attempts = ?"
        " WHERE job = ? AND task = ? AND state = 'queued' AND attempts = ?",
        [(g.attempt, g.key.job, g.key.task, g.attempt - 1) for g in grants],
    ).rowcount
    if changed != len(grants):
        names = ", ".join(f"{g.key} attempt {g.attempt}" for g in grants[:5])
        raise Conflict(f"{len(grants) - changed} of {len(grants)} tasks are not queued for that attempt: {names}")
    connection.executemany(
        "INSERT INTO attempts (job, task, attempt, epoch, worker, granted_at, lease_seconds)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(g.key.job, g.key.task, g.attempt, g.epoch, g.worker, g.granted_at, g.lease_seconds) for g in grants],
    )


def open_grants(connection: Session) -> list[GrantRecord]:
    """The open attempt of every leased task."""
    rows = connection.execute(
        "SELECT a.job, a.task, a.attempt, a.epoch, a.worker, a.granted_at, a.lease_seconds FROM attempts a"
        " JOIN tasks t ON t.job = a.job AND t.task = a.task AND t.attempts = a.attempt"
        " WHERE t.state = 'leased' AND a.ended_at IS NULL"
    )
    return [GrantRecord(TaskKey(job, task), *rest) for job, task, *rest in rows]


def workers(connection: Session, uid: str) -> dict[str, str]:
    """Who was granted each task of a job last, by task."""
    rows = connection.execute("SELECT task, worker FROM attempts WHERE job = ? ORDER BY attempt", (uid,))
    return dict(rows.fetchall())


def last_worker(connection: Session, key: TaskKey) -> str:
    """Who was granted that task last; empty: nobody."""
    row = connection.execute(
        "SELECT worker FROM attempts WHERE job = ? AND task = ? ORDER BY attempt DESC LIMIT 1", (key.job, key.task)
    ).fetchone()
    return "" if row is None else str(row[0])


def end_attempts(connection: Session, ends: Sequence[AttemptEnd]) -> None:
    """Close attempts that brought no answer; those that are closed already are left as they are.

    A task of a cancelled job is not queued again: it is cancelled, or the job's counts would never add up.
    """
    for end in ends:
        key, message = (end.key.job, end.key.task), storable(end.message)
        closed = connection.execute(
            "UPDATE attempts SET ended_at = ?, failure = ?, reason = ?, message = ?"
            " WHERE job = ? AND task = ? AND attempt = ? AND ended_at IS NULL",
            (end.ended_at, end.failure.value, end.reason, message, *key, end.attempt),
        ).rowcount
        if not closed:
            continue
        state = TaskState.QUEUED if end.requeue else TaskState.FAILED
        connection.execute(
            "UPDATE tasks SET state = ?, charged = charged + ?, lost = lost + ? WHERE job = ? AND task = ?",
            (state.value, int(end.failure.charged), int(end.failure.lost), *key),
        )
        if end.requeue:
            cancel_queued_if_cancelled(connection, end.key.job, now=end.ended_at)
        else:
            failed = results.made(
                end.key, end.attempt, status="failed", reason=end.reason, message=message, at=end.ended_at
            )
            results.insert(connection, [failed])
