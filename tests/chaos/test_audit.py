"""The audit finds what a broken engine would do: each case is one promise broken in books that were right."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mahavishnu_operator.api.wire import TaskResult

from .audit import AttemptRow, Books, ResultRow, TaskRow, find_breaches
from .storm import Fault, plan_strikes
from .witness import Executions

PLAN = ["t0", "t1"]
COUNTS = {"total": 2, "succeeded": 2, "retried": 1}
RIGHT = Books(
    tasks=[TaskRow("t0", "succeeded", 2, charged=0, lost=1), TaskRow("t1", "succeeded", 1, charged=0, lost=0)],
    attempts=[
        AttemptRow("t0", 1, True, "worker-lost"),
        AttemptRow("t0", 2, True, None),
        AttemptRow("t1", 1, True, None),
    ],
    results=[
        ResultRow("t0", 2, "succeeded", TaskResult("j/t0", 2, "succeeded", stdout="..\nb\n")),
        ResultRow("t1", 1, "succeeded", TaskResult("j/t1", 1, "succeeded", stdout="..\nc\n")),
    ],
)
RAN = Executions(
    began={"t0": frozenset("ab"), "t1": frozenset("c")}, ended={"t0": frozenset("b"), "t1": frozenset("c")}
)
T0, T1 = RIGHT.tasks
R0, R1 = RIGHT.results
A0, A1, A2 = RIGHT.attempts


def breaches(books: Books = RIGHT, executions: Executions = RAN, counts: dict[str, int] = COUNTS) -> list[str]:
    return find_breaches(books, executions, plan=PLAN, max_attempts=2, counts=counts)


def test_right_books_have_no_breach() -> None:
    assert breaches() == []


@pytest.mark.parametrize(
    ("books", "words"),
    [
        (replace(RIGHT, tasks=[T1]), "t0 of the plan is lost"),
        (replace(RIGHT, tasks=[T0, T1, replace(T1, name="t2")]), "t2 is there 1 times"),
        (replace(RIGHT, results=[R0, R1, R1]), "t1 (succeeded) has 2 results"),
        (replace(RIGHT, results=[R0]), "t1 (succeeded) has 0 results"),
        (replace(RIGHT, attempts=[A0, A1, replace(A2, ended=False)]), "t1 attempt 1 is open"),
        (replace(RIGHT, attempts=[A0, A1]), "t1 had 1 attempts; rows: []"),
        (replace(RIGHT, attempts=[A0, A1, replace(A2, failure="tool")]), "t1 succeeded by an attempt that ended as"),
        (replace(RIGHT, tasks=[replace(T0, lost=0), T1]), "t0 lost 0 workers; attempts that say so: 1"),
        (
            replace(RIGHT, tasks=[T0, replace(T1, state="failed")], results=[R0, replace(R1, state="failed")]),
            "t1 failed after 0 charged and 0 lost attempts",
        ),
        (
            replace(RIGHT, tasks=[T0, replace(T1, state="cancelled")], results=[R0, replace(R1, state="cancelled")]),
            "t1 is cancelled, and nobody asked for that",
        ),
        (replace(RIGHT, results=[replace(R0, attempt=1), R1]), "attempt 1 counts for t0, which had 2"),
    ],
)
def test_books_that_do_not_add_up_are_found(books: Books, words: str) -> None:
    assert any(words in breach for breach in breaches(books)), breaches(books)


def test_a_result_of_an_execution_that_was_killed_is_found() -> None:
    ran = replace(RAN, ended={"t0": frozenset("b")})
    assert any("t1 is of no execution that ended" in breach for breach in breaches(executions=ran))


def test_what_ran_without_being_granted_is_found() -> None:
    ran = replace(RAN, began={"t0": frozenset("ab"), "t1": frozenset("cd")})
    assert breaches(executions=ran) == ["t1 ran 2 times and was granted 1 times"]


@pytest.mark.parametrize("counts", [{**COUNTS, "succeeded": 3}, {**COUNTS, "running": 1}, {**COUNTS, "retried": 0}])
def test_counts_of_a_status_that_are_not_those_of_the_rows_are_found(counts: dict[str, int]) -> None:
    assert len(breaches(counts=counts)) == 1


def test_a_seed_draws_the_same_storm_each_time_with_each_fault_in_it() -> None:
    faults = [Fault("kill", 5), Fault("stop", 1, (0.5, 2.0))]
    drawn = [plan_strikes(7, faults, count=10, tasks=100) for _ in range(2)]
    assert drawn[0] == drawn[1] != plan_strikes(8, faults, count=10, tasks=100)
    assert {strike.fault for strike in drawn[0]} == {"kill", "stop"}
    assert [strike.after for strike in drawn[0]] == sorted(strike.after for strike in drawn[0])
