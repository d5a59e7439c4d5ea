"""Waiting before the next try: how long, for whom, and who is woken."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mahavishnu_operator.api.reasons import FailureClass
from mahavishnu_operator.dispatch.dispatcher import Dispatcher
from mahavishnu_operator.dispatch.leases import MAX_BACKOFF_SECONDS, MAX_LOST, GiveUp, Requeue, decide_retry
from mahavishnu_operator.store.records import JobState

from .harness import COMMAND, Agent, FullDisk, ended, job, tasks

TOOL, LOST, DISRUPTED = FailureClass.TOOL, FailureClass.WORKER_LOST, FailureClass.DISRUPTED


@given(st.lists(st.sampled_from(FailureClass), max_size=40), st.integers(1, 10))
def test_tools_use_up_attempts_and_losses_their_own_count_whatever_the_order(
    failures: list[FailureClass], max_attempts: int
) -> None:
    charged = lost = 0
    for failure in failures:
        decided = decide_retry(failure, charged=charged, lost=lost, max_attempts=max_attempts)
        charged += failure.charged
        lost += failure.lost
        assert isinstance(decided, GiveUp) is (charged >= max_attempts or lost >= MAX_LOST)
        if isinstance(decided, GiveUp):
            return
        assert 0.0 <= decided.after_seconds <= MAX_BACKOFF_SECONDS
        assert (decided.after_seconds == 0.0) is (failure in (DISRUPTED, FailureClass.UNSTARTED))


@given(st.sampled_from([TOOL, LOST]), st.integers(0, 60))
def test_each_wait_is_twice_the_one_before_up_to_the_cap(failure: FailureClass, earlier: int) -> None:
    def wait(count: int) -> float:
        charged, lost = (count, 0) if failure is TOOL else (0, min(count, MAX_LOST - 2))
        decided = decide_retry(failure, charged=charged, lost=lost, max_attempts=99)
        assert isinstance(decided, Requeue)
        return decided.after_seconds

    if failure is TOOL or earlier < MAX_LOST - 2:
        assert wait(earlier + 1) == min(2 * wait(earlier), MAX_BACKOFF_SECONDS)


async def test_a_task_that_failed_is_queued_and_leased_again_when_it_is_due(dispatcher: Dispatcher) -> None:
    await dispatcher.submit(job(), tasks(spec=COMMAND))
    agent = await Agent(dispatcher).register()
    [failed] = await agent.lease()
    begun = dispatcher.core.clock()
    await agent.deliver(ended(failed, "failed"))
    progress = dispatcher.progress("job-1")
    assert progress is not None
    assert (progress.queued, progress.running, progress.retried) == (1, 0, 0)
    assert await agent.lease() == []
    async with asyncio.timeout(20):  # woken by an alarm, long before its poll ends
        [again] = await agent.lease(wait=60)
    assert again.attempts == 2
    assert dispatcher.core.clock() - begun >= 1.0


async def test_others_are_leased_meanwhile(dispatcher: Dispatcher) -> None:
    await dispatcher.submit(job(), tasks(count=3, spec=COMMAND))
    agent = await Agent(dispatcher).register()
    order = []
    for status in ("failed", "succeeded", "succeeded"):
        [task] = await agent.lease()
        order.append((task.key.task, task.attempts))
        await agent.deliver(ended(task, status))
    assert order == [("t0", 1), ("t1", 1), ("t2", 1)]


async def test_a_lease_that_was_handed_back_waits_not_at_all(dispatcher: Dispatcher) -> None:
    await dispatcher.submit(job(), tasks(spec=COMMAND))
    agent = await Agent(dispatcher).register()
    for _ in range(MAX_LOST - 1):
        [task] = await agent.lease()
        await agent.deliver(ended(task, "cancelled"))
    [last] = await agent.lease()
    assert last.attempts == MAX_LOST


async def test_the_wait_is_forgotten_at_a_restart_and_the_counts_are_not(store: FullDisk) -> None:
    async with Dispatcher(store, holder="before") as before:
        await before.submit(job(max_attempts=2), tasks(spec=COMMAND))
        agent = await Agent(before).register()
        [failed] = await agent.lease()
        await agent.deliver(ended(failed, "failed"))
        assert await agent.lease() == []
    async with Dispatcher(store, holder="after") as after:
        agent = await Agent(after).register()
        [again] = await agent.lease()
        assert (again.attempts, again.charged) == (2, 1)


@pytest.mark.parametrize("suspend_first", [True, False])
async def test_a_suspended_job_keeps_its_wait(dispatcher: Dispatcher, suspend_first: bool) -> None:
    await dispatcher.submit(job(), tasks(spec=COMMAND))
    agent = await Agent(dispatcher).register()
    [failed] = await agent.lease()
    begun = dispatcher.core.clock()
    if suspend_first:
        await dispatcher.set_job_state("job-1", JobState.SUSPENDED)
    await agent.deliver(ended(failed, "failed"))
    await dispatcher.set_job_state("job-1", JobState.SUSPENDED)
    await dispatcher.set_job_state("job-1", JobState.OPEN)
    async with asyncio.timeout(20):
        [again] = await agent.lease(wait=60)
    assert again.attempts == 2
    assert dispatcher.core.clock() - begun >= 1.0
