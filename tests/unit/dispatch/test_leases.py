"""Deadlines, and what follows when an attempt ends without an answer."""

from __future__ import annotations

import asyncio

import pytest

from mahavishnu_operator.api.reasons import FailureClass
from mahavishnu_operator.api.wire import ResultStatus, TaskResult
from mahavishnu_operator.dispatch.judge import Again, Counts, Fails, Tries, judge_loss, judge_result
from mahavishnu_operator.dispatch.leases import GiveUp, Lease, LeaseTable, Requeue, decide_retry
from mahavishnu_operator.store.records import TaskKey, TaskState

TOOL, LOST, DISRUPTED = FailureClass.TOOL, FailureClass.WORKER_LOST, FailureClass.DISRUPTED


@pytest.mark.parametrize(
    ("failure", "charged", "lost", "expected"),
    [
        (TOOL, 0, 0, Requeue(1.0)),
        (TOOL, 1, 0, Requeue(2.0)),
        (TOOL, 2, 0, Requeue(4.0)),
        (TOOL, 0, 4, Requeue(1.0)),
        (TOOL, 30, 0, Requeue(60.0)),
        (LOST, 0, 0, Requeue(0.5)),
        (LOST, 0, 1, Requeue(1.0)),
        (LOST, 0, 3, Requeue(4.0)),
        (LOST, 98, 0, Requeue(0.5)),
        (DISRUPTED, 0, 0, Requeue(0.0)),
        (DISRUPTED, 0, 3, Requeue(0.0)),
    ],
)
def test_an_attempt_is_tried_again_after(failure: FailureClass, charged: int, lost: int, expected: Requeue) -> None:
    assert decide_retry(failure, charged=charged, lost=lost, max_attempts=99) == expected


@pytest.mark.parametrize(("charged", "max_attempts"), [(0, 1), (1, 2), (5, 2)])
def test_the_last_charged_attempt_fails_the_task(charged: int, max_attempts: int) -> None:
    decided = decide_retry(TOOL, charged=charged, lost=0, max_attempts=max_attempts)
    assert isinstance(decided, GiveUp)
    assert decided.reason == "AttemptsExhausted"


@pytest.mark.parametrize("failure", [LOST, DISRUPTED])
def test_losses_of_both_classes_together_end_at_the_fifth(failure: FailureClass) -> None:
    decided = decide_retry(failure, charged=0, lost=4, max_attempts=2)
    assert decided == GiveUp("WorkerLost", "its worker was lost or stopped 5 times while it ran")


def result(status: ResultStatus) -> TaskResult:
    return TaskResult(task="j/t", attempt=1, status=status)


FRESH = Tries(charged=0, lost=0, max_attempts=2)
LAST = Tries(charged=1, lost=0, max_attempts=2)
CANCELLED = Tries(charged=0, lost=0, max_attempts=2, cancelled=True)


@pytest.mark.parametrize(
    ("status", "tries", "expected"),
    [
        ("succeeded", FRESH, Counts(TaskState.SUCCEEDED)),
        ("succeeded", CANCELLED, Counts(TaskState.SUCCEEDED)),
        ("refused", FRESH, Counts(TaskState.FAILED)),
        ("failed", FRESH, Again(TOOL, 1.0)),
        ("timed-out", FRESH, Again(TOOL, 1.0)),
        ("failed", LAST, Counts(TaskState.FAILED, charged=True)),
        ("timed-out", LAST, Counts(TaskState.FAILED, charged=True)),
        ("failed", CANCELLED, Counts(TaskState.FAILED, charged=True)),
        ("cancelled", CANCELLED, Counts(TaskState.CANCELLED)),
        ("cancelled", FRESH, Again(DISRUPTED, 0.0)),
    ],
)
def test_a_delivered_result_means(status: ResultStatus, tries: Tries, expected: Counts | Again) -> None:
    assert judge_result(result(status), tries) == expected


def test_a_task_of_a_cancelled_job_that_lost_its_worker_is_cancelled() -> None:
    assert judge_loss(LOST, CANCELLED, message="gone") == Counts(TaskState.CANCELLED)


def test_the_words_of_a_task_that_lost_its_workers_too_often_say_what_happened_last() -> None:
    decided = judge_loss(LOST, Tries(charged=0, lost=4, max_attempts=2), message="killed by signal 9")
    assert isinstance(decided, Fails)
    assert decided.message.endswith("the last time: killed by signal 9")


def lease(name: str, *, worker: str = "n/p/w", deadline: float = 10.0) -> Lease:
    return Lease(key=TaskKey("j", name), attempt=1, worker=worker, deadline=deadline, seconds=10.0)


def test_a_lease_runs_out_at_its_deadline_and_not_before() -> None:
    table = LeaseTable()
    table.add(lease("a"))
    assert table.expired(9.9) == []
    assert [found.key.task for found in table.expired(10.0)] == ["a"]


def test_a_renewed_lease_runs_out_later() -> None:
    table = LeaseTable()
    held = lease("a")
    table.add(held)
    held.deadline = 20.0
    assert table.expired(10.0) == []
    assert table.expired(20.0) == [held]


def test_an_expired_lease_whose_end_could_not_be_written_is_seen_again() -> None:
    table = LeaseTable()
    held = lease("a")
    table.add(held)
    assert table.expired(10.0) == [held]
    assert table.expired(11.0) == [held]


async def test_a_lease_whose_end_is_being_written_does_not_run_out() -> None:
    table = LeaseTable()
    held = lease("a")
    held.settling = asyncio.get_running_loop().create_future()
    table.add(held)
    assert table.expired(10.0) == []


def test_a_task_has_at_most_one_lease() -> None:
    table = LeaseTable()
    table.add(lease("a"))
    with pytest.raises(ValueError, match="leased already to n/p/w"):
        table.add(lease("a", worker="n/p/other"))


def test_only_the_holder_of_that_attempt_holds_it() -> None:
    table = LeaseTable()
    held = lease("a")
    table.add(held)
    assert table.held(held.key, 1, worker="n/p/w") is held
    assert table.held(held.key, 2, worker="n/p/w") is None
    assert table.held(held.key, 1, worker="n/p/other") is None


def test_removed_leases_are_held_by_nobody() -> None:
    table = LeaseTable()
    held = lease("a")
    table.add(held)
    table.remove(held)
    table.remove(held)
    assert (len(table), table.count_of("n/p/w"), table.expired(99.0)) == (0, 0, [])


def test_the_next_deadline_is_of_a_lease_that_is_held() -> None:
    table = LeaseTable()
    first, second = lease("a"), lease("b", deadline=12.0)
    table.add(first)
    table.add(second)
    assert table.next_deadline() == 10.0
    table.remove(first)
    assert table.next_deadline() == 12.0
    table.remove(second)
    assert table.next_deadline() is None


def test_postponed_deadlines_move_together() -> None:
    table = LeaseTable()
    first, second = lease("a"), lease("b", deadline=12.0)
    table.add(first)
    table.add(second)
    table.postpone(5.0)
    assert table.expired(14.9) == []
    assert table.expired(15.0) == [first]
