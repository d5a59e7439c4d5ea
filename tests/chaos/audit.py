"""The audit after a storm: do the books add up, with each other, with the plan, and with what really ran?

The books are the rows of the store, read as they are. What must stay true, whatever was struck: each task of the plan
has exactly one result, and that result is of an execution that came to its end; a task that failed had used up what it
is allowed; every attempt has ended; nothing ran that was not granted; the counts of the status are those of the rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from mahavishnu_operator.api.wire import TaskResult
from mahavishnu_operator.dispatch.leases import MAX_LOST

from .witness import Executions

Query = Callable[[str], Iterable[tuple[Any, ...]]]
COUNTED = "counted"


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task: `charged` and `lost` count its attempts that ended so."""

    name: str
    state: str
    attempts: int
    charged: int
    lost: int


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """An attempt: `failure` is None for one whose result counts, and for one that is open."""

    task: str
    number: int
    ended: bool
    failure: str | None


@dataclass(frozen=True, slots=True)
class ResultRow:
    """What counts for a task."""

    task: str
    attempt: int
    state: str
    result: TaskResult


@dataclass(frozen=True, slots=True)
class Books:
    """All that the store says of one job."""

    tasks: Sequence[TaskRow]
    attempts: Sequence[AttemptRow]
    results: Sequence[ResultRow]

    @property
    def ended(self) -> bool:
        """Whether no task is left."""
        return all(task.state not in ("queued", "leased") for task in self.tasks)

    @property
    def outcomes(self) -> dict[str, int]:
        """Attempts by how they ended."""
        return dict(sorted(Counter(attempt.failure or COUNTED for attempt in self.attempts).items()))


def read_books(query: Query, job: str) -> Books:
    """The books of the job of that name, by the store's own tables."""
    of_job = f" WHERE job = (SELECT uid FROM jobs WHERE name = '{job}')"
    return Books(
        tasks=[TaskRow(*row) for row in query("SELECT task, state, attempts, charged, lost FROM tasks" + of_job)],
        attempts=[
            AttemptRow(task, number, ended_at is not None, failure)
            for task, number, ended_at, failure in query(
                "SELECT task, attempt, ended_at, failure FROM attempts" + of_job
            )
        ],
        results=[
            ResultRow(task, attempt, state, msgspec.json.decode(bytes(body), type=TaskResult))
            for task, attempt, state, body in query("SELECT task, attempt, state, body FROM results" + of_job)
        ],
    )


LOOSE = {
    "tasks that have not ended": "SELECT count(*) FROM tasks WHERE state IN ('queued', 'leased')",
    "attempts that are open": "SELECT count(*) FROM attempts WHERE ended_at IS NULL",
    "tasks without a result": (
        "SELECT count(*) FROM tasks t"
        " WHERE NOT EXISTS (SELECT 1 FROM results r WHERE r.job = t.job AND r.task = t.task)"
    ),
}


def find_loose_ends(query: Query) -> list[str]:
    """What is not ended in a whole store, whatever jobs it holds."""
    found = []
    for words, sql in LOOSE.items():
        ((number,),) = query(sql)
        if number:
            found.append(f"the store has {number} {words}")
    return found


def find_breaches(
    books: Books,
    executions: Executions,
    *,
    plan: Sequence[str],
    max_attempts: int,
    counts: Mapping[str, int] | None = None,
) -> list[str]:
    """Every promise that is broken, as a sentence. `counts`: status.tasks of the ScanJob, where there is one."""
    attempts: dict[str, list[AttemptRow]] = {}
    for attempt in books.attempts:
        attempts.setdefault(attempt.task, []).append(attempt)
    results: dict[str, list[ResultRow]] = {}
    for result in books.results:
        results.setdefault(result.task, []).append(result)
    found = list(_of_the_plan(plan, books))
    for task in books.tasks:
        of_task = sorted(attempts.get(task.name, []), key=lambda attempt: attempt.number)
        found += _of_attempts(task, of_task)
        found += _of_result(task, of_task, results.get(task.name, []), executions, max_attempts)
        began = len(executions.began.get(task.name, ()))
        if began > task.attempts:
            found.append(f"{task.name} ran {began} times and was granted {task.attempts} times")
    if counts is not None:
        found += _of_counts(counts, books)
    return found


def _of_the_plan(plan: Sequence[str], books: Books) -> Iterator[str]:
    names = Counter(task.name for task in books.tasks)
    for name in sorted(set(plan) - set(names)):
        yield f"{name} of the plan is lost"
    for name, number in names.items():
        if number > 1 or name not in plan:
            yield f"{name} is there {number} times, in the plan {plan.count(name)} times"


def _of_attempts(task: TaskRow, attempts: Sequence[AttemptRow]) -> Iterator[str]:
    if [attempt.number for attempt in attempts] != list(range(1, task.attempts + 1)):
        yield f"{task.name} had {task.attempts} attempts; rows: {[attempt.number for attempt in attempts]}"
    for attempt in attempts:
        if not attempt.ended:
            yield f"{task.name} attempt {attempt.number} is open"
    lost = sum(attempt.failure in ("worker-lost", "disrupted") for attempt in attempts)
    if lost != task.lost:
        yield f"{task.name} lost {task.lost} workers; attempts that say so: {lost}"


def _of_result(
    task: TaskRow,
    attempts: Sequence[AttemptRow],
    results: Sequence[ResultRow],
    executions: Executions,
    max_attempts: int,
) -> Iterator[str]:
    if len(results) != 1:
        yield f"{task.name} ({task.state}) has {len(results)} results"
        return
    (row,) = results
    if row.state != task.state:
        yield f"{task.name} is {task.state} and its result {row.state}"
    if row.attempt != task.attempts:
        yield f"attempt {row.attempt} counts for {task.name}, which had {task.attempts}"
    if row.state == "succeeded":
        if attempts and attempts[-1].failure is not None:
            yield f"{task.name} succeeded by an attempt that ended as {attempts[-1].failure}"
        if row.result.stdout.rpartition("\n")[0].rpartition("\n")[2] not in executions.ended.get(task.name, ()):
            yield f"the result of {task.name} is of no execution that ended: {row.result.stdout[-80:]!r}"
    elif row.state == "failed":
        if task.charged < max_attempts and task.lost < MAX_LOST:
            yield f"{task.name} failed after {task.charged} charged and {task.lost} lost attempts: {row.result.message}"
    else:
        yield f"{task.name} is {row.state}, and nobody asked for that"


def _of_counts(counts: Mapping[str, int], books: Books) -> Iterator[str]:
    states = Counter(task.state for task in books.tasks)
    expected = {"total": len(books.tasks), **{name: states[name] for name in ("succeeded", "failed", "cancelled")}}
    # an attempt that was handed back unstarted is no try
    expected["retried"] = sum(min(task.charged + task.lost, task.attempts - 1) for task in books.tasks)
    for name, number in expected.items():
        if counts.get(name, 0) != number:
            yield f"status.tasks.{name} is {counts.get(name, 0)}; the rows say {number}"
    for name in ("queued", "running", "cached"):
        if counts.get(name, 0):
            yield f"status.tasks.{name} is {counts[name]} at the end"
