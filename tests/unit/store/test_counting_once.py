"""Promise 1: a task counts exactly once, whatever dies and however often."""

from __future__ import annotations

import pytest

from mahavishnu_operator.api.reasons import FailureClass
from mahavishnu_operator.store.records import (
    AttemptEnd,
    GrantRecord,
    JobState,
    Recorded,
    ResultRecord,
    TaskKey,
    TaskOutcome,
    TaskRecord,
    TaskState,
)
from mahavishnu_operator.support.errors import Conflict, InvalidInput

from .conftest import JOB, Holder, key, lost


async def test_the_result_of_an_open_attempt_is_recorded(held: Holder) -> None:
    await held.add("t0")
    await held.grant("t0")
    assert await held.deliver("t0") == [Recorded.RECORDED]
    assert await held.states() == {"t0": TaskState.SUCCEEDED}


async def test_the_same_result_again_is_a_duplicate(held: Holder) -> None:
    await held.add("t0")
    await held.grant("t0")
    await held.deliver("t0")
    assert await held.deliver("t0") == [Recorded.DUPLICATE]


async def test_a_result_of_an_attempt_that_was_given_up_is_superseded(held: Holder) -> None:
    await held.add("t0")
    await held.grant("t0")
    await held.store.end_attempts(held.epoch, [lost()])
    assert await held.deliver("t0") == [Recorded.SUPERSEDED]
    assert await held.states() == {"t0": TaskState.QUEUED}


async def test_a_late_result_of_an_older_attempt_is_superseded(held: Holder) -> None:
    await held.add("t0")
    await held.grant("t0")
    await held.store.end_attempts(held.epoch, [lost()])
    await held.grant("t0", attempt=2)
    assert await held.deliver("t0", attempt=1) == [Recorded.SUPERSEDED]
    assert await held.deliver("t0", attempt=2) == [Recorded.RECORDED]


async def test_a_result_after_the_dispatcher_gave_the_task_up_is_superseded(held: Holder) -> None:
    await held.add("t0")
    await held.grant("t0")
    await held.lose("t0", requeue=False)
    given_up = await held.store.result(key())
    assert await held.deliver("t0") == [Recorded.SUPERSEDED]
    assert await held.store.result(key()) == given_up


async def test_a_result_of_an_attempt_that_was_never_granted_is_superseded(held: Holder) -> None:
    await held.add("t0")
    await held.grant("t0")
    assert await held.deliver("t0", attempt=7) == [Recorded.SUPERSEDED]
    assert await held.states() == {"t0": TaskState.LEASED}


async def test_a_result_that_would_not_end_its_task_is_refused(held: Holder) -> None:
    await held.add("t0")
    await held.grant("t0")
    with pytest.raises(InvalidInput, match="u1/t0"):
        await held.store.record_results(held.epoch, [ResultRecord(key(), 1, TaskState.LEASED, b"{}", 2.0)])


async def test_a_charged_result_is_charged_to_the_task(held: Holder) -> None:
    await held.add("t0")
    await held.grant("t0")
    await held.store.record_results(held.epoch, [ResultRecord(key(), 1, TaskState.FAILED, b"{}", 2.0, charged=True)])
    (task,) = await held.store.tasks("u1")
    assert (task.state, task.charged, task.lost) == (TaskState.FAILED, 1, 0)


async def test_an_attempt_that_the_tool_ended_is_charged_and_others_are_not(held: Holder) -> None:
    await held.add("t0")
    for attempt, failure in enumerate((FailureClass.TOOL, FailureClass.WORKER_LOST, FailureClass.DISRUPTED), start=1):
        await held.grant("t0", attempt=attempt)
        await held.store.end_attempts(held.epoch, [AttemptEnd(key(), attempt, failure, "R", "m", True, 3.0)])
    (task,) = await held.store.tasks("u1")
    assert (task.state, task.attempts, task.charged, task.lost) == (TaskState.QUEUED, 3, 1, 2)


async def test_a_result_for_a_task_that_nobody_knows_is_unknown(held: Holder) -> None:
    assert await held.deliver("t0") == [Recorded.UNKNOWN]


async def test_one_batch_gets_an_answer_for_each_result_in_order(held: Holder) -> None:
    await held.add("t0", "t1")
    await held.grant("t0", "t1")
    assert await held.deliver("t1", "nobody", "t1", "t0") == [
        Recorded.RECORDED,
        Recorded.UNKNOWN,
        Recorded.DUPLICATE,
        Recorded.RECORDED,
    ]


async def test_a_task_that_is_leased_cannot_be_granted_again(held: Holder) -> None:
    await held.add("t0", "t1")
    await held.grant("t0")
    with pytest.raises(Conflict):
        await held.grant("t1", "t0")
    assert await held.states() == {"t0": TaskState.LEASED, "t1": TaskState.QUEUED}


async def test_attempts_are_granted_in_order_and_none_is_left_out(held: Holder) -> None:
    await held.add("t0")
    with pytest.raises(Conflict, match="u1/t0 attempt 2"):
        await held.grant("t0", attempt=2)
    assert await held.states() == {"t0": TaskState.QUEUED}


async def test_a_task_that_has_a_result_cannot_be_granted_again(held: Holder) -> None:
    await held.add("t0")
    await held.grant("t0")
    await held.deliver("t0")
    with pytest.raises(Conflict):
        await held.grant("t0", attempt=2)


async def test_the_last_lost_attempt_ends_the_task_with_a_result(held: Holder) -> None:
    await held.add("t0")
    await held.grant("t0")
    await held.store.end_attempts(held.epoch, [lost(requeue=False)])
    result = await held.store.result(key())
    assert result is not None
    assert result.state is TaskState.FAILED
    assert b"WorkerLost" in result.body


async def test_ending_an_attempt_twice_counts_it_once(held: Holder) -> None:
    await held.add("t0")
    await held.grant("t0")
    await held.store.end_attempts(held.epoch, [lost(), lost()])
    (task,) = await held.store.tasks("u1")
    assert (task.lost, task.charged, task.attempts) == (1, 0, 1)


async def test_an_attempt_that_brought_its_result_cannot_be_ended(held: Holder) -> None:
    await held.add("t0")
    await held.grant("t0")
    await held.deliver("t0")
    await held.store.end_attempts(held.epoch, [lost()])
    assert await held.states() == {"t0": TaskState.SUCCEEDED}


async def test_adding_a_job_again_changes_nothing_and_adds_new_tasks(held: Holder) -> None:
    await held.add("t0")
    await held.grant("t0")
    await held.add("t0", "t1")
    assert await held.states() == {"t0": TaskState.LEASED, "t1": TaskState.QUEUED}


async def test_cancelling_ends_queued_tasks_and_leaves_running_ones(held: Holder) -> None:
    await held.add("t0", "t1")
    await held.grant("t0")
    await held.store.set_job_state(held.epoch, "u1", JobState.CANCELLED)
    assert await held.states() == {"t0": TaskState.LEASED, "t1": TaskState.CANCELLED}
    assert await held.store.result(key("t1")) is not None


async def test_a_lost_task_of_a_cancelled_job_is_cancelled_and_not_queued(held: Holder) -> None:
    await held.add("t0")
    await held.grant("t0")
    await held.store.set_job_state(held.epoch, "u1", JobState.CANCELLED)
    await held.lose("t0")
    assert await held.states() == {"t0": TaskState.CANCELLED}
    assert await held.deliver("t0") == [Recorded.SUPERSEDED]


async def test_a_running_task_of_a_cancelled_job_still_answers(held: Holder) -> None:
    await held.add("t0")
    await held.grant("t0")
    await held.store.set_job_state(held.epoch, "u1", JobState.CANCELLED)
    assert await held.deliver("t0") == [Recorded.RECORDED]


async def test_cancelling_an_unknown_job_changes_nothing(held: Holder) -> None:
    await held.add("t0")
    await held.store.set_job_state(held.epoch, "nobody", JobState.CANCELLED)
    assert await held.states() == {"t0": TaskState.QUEUED}


async def test_a_closed_job_is_not_opened_again(held: Holder) -> None:
    await held.add("t0")
    await held.store.set_job_state(held.epoch, "u1", JobState.CLOSED)
    await held.store.set_job_state(held.epoch, "u1", JobState.CANCELLED)
    assert await held.store.open_jobs() == []
    assert await held.states() == {"t0": TaskState.QUEUED}


async def test_a_job_takes_no_tasks_of_another_job(held: Holder) -> None:
    with pytest.raises(InvalidInput, match="u2/t0"):
        await held.store.add_job(held.epoch, JOB, [TaskRecord(TaskKey("u2", "t0"), 0, b"{}")])


async def test_a_task_added_to_a_cancelled_job_is_cancelled(held: Holder) -> None:
    await held.add("t0")
    await held.store.set_job_state(held.epoch, "u1", JobState.CANCELLED)
    await held.add("t0", "t1")
    assert await held.states() == {"t0": TaskState.CANCELLED, "t1": TaskState.CANCELLED}


async def test_results_come_in_pages_by_seq(held: Holder) -> None:
    await held.add("t0", "t1", "t2")
    await held.grant("t2", "t0", "t1")
    await held.deliver("t2", "t0", "t1")
    first = await held.store.results("u1", limit=2)
    rest = await held.store.results("u1", after_seq=first[-1][0], limit=2)
    assert [r.key.task for _, r in [*first, *rest]] == ["t0", "t1", "t2"]


async def test_a_page_never_parts_tasks_of_one_seq(held: Holder) -> None:
    tasks = [TaskRecord(key(name), seq, b"{}") for name, seq in (("t0", 0), ("t1", 1), ("t2", 1), ("t3", 2))]
    await held.store.add_job(held.epoch, JOB, tasks)
    await held.grant("t0", "t1", "t2", "t3")
    await held.deliver("t0", "t1", "t2", "t3")
    assert [r.key.task for _, r in await held.store.results("u1", limit=2)] == ["t0", "t1", "t2"]
    assert [r.key.task for _, r in await held.store.results("u1", after_seq=1)] == ["t3"]


async def test_closed_jobs_are_not_open(held: Holder) -> None:
    await held.add("t0")
    assert await held.store.open_jobs() == [JOB]
    await held.store.set_job_state(held.epoch, "u1", JobState.CLOSED)
    assert await held.store.open_jobs() == []


async def test_a_leased_task_has_an_open_grant(held: Holder) -> None:
    await held.add("t0", "t1")
    await held.grant("t0", "t1")
    await held.deliver("t1")
    assert [(g.key.task, g.attempt, g.worker) for g in await held.store.open_grants()] == [("t0", 1, "ns/pool/w")]


async def test_who_was_granted_a_task_last_is_known(held: Holder) -> None:
    await held.add("t0", "t1", "t2")
    await held.grant("t0", "t1")
    await held.store.end_attempts(held.epoch, [lost()])
    again = GrantRecord(key(), 2, held.epoch, "ns/pool/other", 1.0, 15.0)
    await held.store.record_grants(held.epoch, [again])
    assert await held.store.workers("u1") == {"t0": "ns/pool/other", "t1": "ns/pool/w"}
    assert await held.store.workers("u2") == {}


async def test_a_task_is_read_with_what_came_of_it(held: Holder) -> None:
    await held.add("t0", "t1")
    untouched = await held.store.outcome(key("t1"))
    assert untouched == TaskOutcome(TaskRecord(key("t1"), 1, b"{}"))
    await held.grant("t0")
    await held.deliver("t0")
    ended = await held.store.outcome(key("t0"))
    assert ended is not None
    assert (ended.task, ended.result, ended.worker) == (
        (await held.store.tasks("u1"))[0],
        await held.store.result(key("t0")),
        "ns/pool/w",
    )
    assert await held.store.outcome(key("t2")) is None
