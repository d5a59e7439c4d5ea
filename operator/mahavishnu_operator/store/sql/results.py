"""Results in SQL: which one counts for a task, and reading those that do.

`ResultRecord.charged` is added to the task's count when it is recorded and is not kept in the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from mahavishnu_operator.api.wire import ResultStatus, TaskResult
from mahavishnu_operator.store.records import Recorded, ResultRecord, TaskKey, TaskState
from mahavishnu_operator.support.errors import InvalidInput
from mahavishnu_operator.support.group_commit import Session

from .references import named_in, tie

_FACTS = (
    "SELECT t.attempts, t.state, a.attempt, a.ended_at, a.failure, r.attempt FROM tasks t"
    " LEFT JOIN attempts a ON a.job = t.job AND a.task = t.task AND a.attempt = ?"
    " LEFT JOIN results r ON r.job = t.job AND r.task = t.task"
    " WHERE t.job = ? AND t.task = ?"
)


def record_results(connection: Session, results: Sequence[ResultRecord]) -> list[Recorded]:
    """Record each result whose attempt is the task's latest and still open; say what became of each."""
    answers: list[Recorded] = []
    counted: dict[TaskKey, ResultRecord] = {}
    for result in results:
        if not result.state.terminal:
            raise InvalidInput(f"the result of {result.key} has state {result.state}: a result ends its task")
        row = connection.execute(_FACTS, (result.attempt, result.key.job, result.key.task)).fetchone()
        answer = _judge(row, result.attempt)
        if answer is Recorded.RECORDED and (before := counted.get(result.key)):
            answer = Recorded.DUPLICATE if before.attempt == result.attempt else Recorded.SUPERSEDED
        elif answer is Recorded.RECORDED:
            counted[result.key] = result
        answers.append(answer)
    _write(connection, list(counted.values()))
    return answers


def _judge(row: tuple[int, str, int | None, float | None, str | None, int | None] | None, attempt: int) -> Recorded:
    """What a delivered attempt is worth, from its task, its own row and the result that is there.

    An attempt that was given up (it has a failure) is superseded even where the dispatcher's own
    result of the task carries its number: what the worker brings now was not what counted.
    """
    if row is None:
        return Recorded.UNKNOWN
    latest, state, granted, ended_at, failure, result_attempt = row
    if granted is not None and ended_at is None and latest == attempt and state == TaskState.LEASED:
        return Recorded.RECORDED
    if granted is not None and failure is None and result_attempt == attempt:
        return Recorded.DUPLICATE
    return Recorded.SUPERSEDED


def _write(connection: Session, results: Sequence[ResultRecord]) -> None:
    connection.executemany(
        "UPDATE attempts SET ended_at = ? WHERE job = ? AND task = ? AND attempt = ?",
        [(r.finished_at, r.key.job, r.key.task, r.attempt) for r in results],
    )
    connection.executemany(
        "UPDATE tasks SET state = ?, charged = charged + ? WHERE job = ? AND task = ?",
        [(r.state.value, int(r.charged), r.key.job, r.key.task) for r in results],
    )
    insert(connection, results)
    tie(connection, [(sha, r.key.job) for r in results for sha in named_in(r.body)])


def insert(connection: Session, results: Iterable[ResultRecord]) -> None:
    """Add results; the primary key refuses a second one of a task."""
    connection.executemany(
        "INSERT INTO results (job, task, attempt, state, body, finished_at) VALUES (?, ?, ?, ?, ?, ?)",
        [(r.key.job, r.key.task, r.attempt, r.state.value, r.body, r.finished_at) for r in results],
    )


def made(key: TaskKey, attempt: int, *, status: ResultStatus, reason: str, message: str, at: float) -> ResultRecord:
    """The result of a task that no worker delivered one for; `status` is failed or cancelled."""
    body = TaskResult(task=str(key), attempt=attempt, status=status, reason=reason, message=message)
    state = TaskState.CANCELLED if status == "cancelled" else TaskState.FAILED
    return ResultRecord(key, attempt, state, msgspec.json.encode(body), at)


def read_result(connection: Session, key: TaskKey) -> ResultRecord | None:
    """The result that counts, if there is one."""
    sql = "SELECT attempt, state, body, finished_at FROM results WHERE job = ? AND task = ?"
    row = connection.execute(sql, (key.job, key.task)).fetchone()
    return None if row is None else ResultRecord(key, row[0], TaskState(row[1]), bytes(row[2]), row[3])


def read_page(connection: Session, uid: str, *, after_seq: int, limit: int) -> list[tuple[int, ResultRecord]]:
    """Results by seq, from the first after `after_seq`; tasks of one seq are never parted, so a page may be longer."""
    rows = connection.execute(
        "SELECT t.seq, r.task, r.attempt, r.state, r.body, r.finished_at FROM results r"
        " JOIN tasks t ON t.job = r.job AND t.task = r.task WHERE r.job = ? AND t.seq > ? AND t.seq <= ("
        "   SELECT max(page.seq) FROM (SELECT t2.seq AS seq FROM results r2"
        "   JOIN tasks t2 ON t2.job = r2.job AND t2.task = r2.task"
        "   WHERE r2.job = ? AND t2.seq > ? ORDER BY t2.seq LIMIT ?) page)"
        " ORDER BY t.seq, t.task",
        (uid, after_seq, uid, after_seq, limit),
    )
    return [
        (seq, ResultRecord(TaskKey(uid, task), attempt, TaskState(state), bytes(body), at))
        for seq, task, attempt, state, body, at in rows
    ]
