"""Suspending, resuming, cancelling, closing and forgetting jobs; draining workers."""

from __future__ import annotations

import asyncio

import pytest

from mahavishnu_operator.api.wire import LeaseRequest, RenewRequest, RenewResponse
from mahavishnu_operator.dispatch.dispatcher import Dispatcher
from mahavishnu_operator.dispatch.errors import SessionUnknown, TryAgain
from mahavishnu_operator.dispatch.ledger import Task
from mahavishnu_operator.store.records import JobState, TaskState
from mahavishnu_operator.support.errors import Conflict

from .harness import COMMAND, Agent, FullDisk, check_memory, ended, hold, job, tasks


async def running(dispatcher: Dispatcher, count: int = 2) -> tuple[Agent, list[Task]]:
    """A job of `count` commands, one of them leased."""
    await dispatcher.submit(job(), tasks(count=count, spec=COMMAND))
    agent = await Agent(dispatcher).register()
    return agent, await agent.lease()


def renewing(agent: Agent, found: list[Task], *, wait: float = 30.0) -> asyncio.Task[RenewResponse]:
    request = RenewRequest(tuple(map(hold, found)), wait_seconds=wait)
    return asyncio.create_task(agent.dispatcher.desk.renew(agent.worker, request))


async def test_a_suspended_job_leases_nothing_and_its_running_task_still_counts(dispatcher: Dispatcher) -> None:
    agent, [task] = await running(dispatcher)
    await dispatcher.set_job_state("job-1", JobState.SUSPENDED)
    assert dispatcher.load("default/pool").queued == 0
    assert await agent.deliver(ended(task)) == ["recorded"]
    assert await agent.lease() == []


async def test_a_resumed_job_wakes_who_waits(dispatcher: Dispatcher) -> None:
    agent, [task] = await running(dispatcher)
    await dispatcher.set_job_state("job-1", JobState.SUSPENDED)
    await agent.deliver(ended(task))
    waiting = asyncio.create_task(agent.lease(wait=30))
    await asyncio.sleep(0)
    await dispatcher.set_job_state("job-1", JobState.OPEN)
    async with asyncio.timeout(2):
        assert len(await waiting) == 1


async def test_a_job_may_come_suspended(dispatcher: Dispatcher) -> None:
    await dispatcher.submit(job(state=JobState.SUSPENDED), tasks())
    agent = await Agent(dispatcher).register()
    assert await agent.lease() == []


async def test_cancelling_ends_what_waits_and_tells_who_runs_at_once(dispatcher: Dispatcher, store: FullDisk) -> None:
    agent, found = await running(dispatcher, 3)
    told = renewing(agent, found)
    await asyncio.sleep(0)
    await dispatcher.set_job_state("job-1", JobState.CANCELLED)
    async with asyncio.timeout(2):
        assert (await told).cancel == (hold(found[0]),)
    progress = dispatcher.progress("job-1")
    assert progress is not None
    assert (progress.cancelled, progress.running) == (2, 1)
    states = [task.state for task in await store.tasks("job-1")]
    assert states.count(TaskState.CANCELLED) == 2


async def test_a_cancelled_task_ends_when_its_worker_says_so(dispatcher: Dispatcher) -> None:
    agent, [task] = await running(dispatcher)
    await dispatcher.set_job_state("job-1", JobState.CANCELLED)
    assert await agent.deliver(ended(task, "cancelled")) == ["recorded"]
    progress = dispatcher.progress("job-1")
    assert progress is not None
    assert (progress.cancelled, progress.done) == (2, True)


async def test_an_answer_that_comes_after_the_cancel_is_kept(dispatcher: Dispatcher) -> None:
    agent, [task] = await running(dispatcher)
    await dispatcher.set_job_state("job-1", JobState.CANCELLED)
    await agent.deliver(ended(task))
    progress = dispatcher.progress("job-1")
    assert progress is not None
    assert (progress.succeeded, progress.cancelled) == (1, 1)


async def test_a_cancelled_task_whose_worker_is_gone_is_cancelled_not_queued(dispatcher: Dispatcher) -> None:
    _, [task] = await running(dispatcher)
    await dispatcher.set_job_state("job-1", JobState.CANCELLED)
    await dispatcher.worker_gone(pool="default/pool", worker="w1", message="killed")
    result = await dispatcher.result("job-1", task.key.task)
    assert result is not None
    assert (result.status, result.message) == ("cancelled", "killed")


async def test_a_cancel_is_told_at_once_only_once(dispatcher: Dispatcher) -> None:
    agent, found = await running(dispatcher)
    await dispatcher.set_job_state("job-1", JobState.CANCELLED)
    assert (await renewing(agent, found)).cancel
    again = renewing(agent, found, wait=0.1)
    await asyncio.sleep(0)
    assert not again.done()
    assert (await again).cancel


async def test_a_cancel_reaches_a_lease_that_the_renewal_did_not_name_yet(dispatcher: Dispatcher) -> None:
    agent, found = await running(dispatcher)
    told = renewing(agent, [])
    await asyncio.sleep(0)
    await dispatcher.set_job_state("job-1", JobState.CANCELLED)
    async with asyncio.timeout(2):
        assert (await told).cancel == (hold(found[0]),)
        assert (await renewing(agent, found)).cancel == (hold(found[0]),)
    assert not (await renewing(agent, found, wait=0.05)).lost


async def test_a_cancelled_job_cannot_be_resumed(dispatcher: Dispatcher) -> None:
    await running(dispatcher)
    await dispatcher.set_job_state("job-1", JobState.CANCELLED)
    with pytest.raises(Conflict, match="cancelled and cannot become open"):
        await dispatcher.set_job_state("job-1", JobState.OPEN)


async def test_a_job_that_is_being_cancelled_cannot_be_resumed(dispatcher: Dispatcher, store: FullDisk) -> None:
    agent, [task] = await running(dispatcher)
    store.quick.clear()
    delivering = asyncio.create_task(agent.deliver(ended(task, "failed")))
    await asyncio.sleep(0.01)
    changes = [
        asyncio.create_task(dispatcher.set_job_state("job-1", state))
        for state in (JobState.SUSPENDED, JobState.CANCELLED, JobState.OPEN)
    ]
    await asyncio.sleep(0.01)
    store.quick.set()
    outcomes = await asyncio.gather(*changes, return_exceptions=True)
    await delivering
    assert [type(outcome) for outcome in outcomes] == [type(None), type(None), Conflict]
    assert [record.state for record in await store.open_jobs()] == [JobState.CANCELLED]
    assert not dispatcher.core.stopped


async def test_a_change_that_is_being_undone_is_not_taken_for_made(dispatcher: Dispatcher, store: FullDisk) -> None:
    agent, [task] = await running(dispatcher)
    store.quick.clear()
    delivering = asyncio.create_task(agent.deliver(ended(task, "failed")))
    await asyncio.sleep(0.01)
    first = asyncio.create_task(dispatcher.set_job_state("job-1", JobState.SUSPENDED))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(dispatcher.set_job_state("job-1", JobState.SUSPENDED))
    await asyncio.sleep(0.01)
    store.full = True
    store.quick.set()
    outcomes = await asyncio.gather(first, second, return_exceptions=True)
    await delivering
    assert [type(outcome) for outcome in outcomes] == [TryAgain, TryAgain]


async def test_tasks_for_a_job_that_is_being_closed_are_refused_and_nothing_stops(
    dispatcher: Dispatcher, store: FullDisk
) -> None:
    agent, [task] = await running(dispatcher)
    store.quick.clear()
    delivering = asyncio.create_task(agent.deliver(ended(task, "failed")))
    await asyncio.sleep(0.01)
    closing = asyncio.create_task(dispatcher.set_job_state("job-1", JobState.CLOSED))
    await asyncio.sleep(0.01)
    adding = asyncio.create_task(dispatcher.submit(job(), tasks(count=1, begin=7)))
    await asyncio.sleep(0.01)
    store.quick.set()
    await asyncio.gather(delivering, closing)
    with pytest.raises(Conflict, match="is closed"):
        await adding
    assert not dispatcher.core.stopped


async def test_tasks_added_to_a_cancelled_job_are_cancelled(dispatcher: Dispatcher) -> None:
    await running(dispatcher)
    await dispatcher.set_job_state("job-1", JobState.CANCELLED)
    await dispatcher.submit(job(), tasks(count=1, begin=7))
    assert dispatcher.core.ledger.jobs["job-1"].tasks["t7"].state is TaskState.CANCELLED


async def test_a_cancel_that_could_not_be_written_leaves_the_job_as_it_was(
    dispatcher: Dispatcher, store: FullDisk
) -> None:
    agent, [task] = await running(dispatcher)
    store.full = True
    with pytest.raises(TryAgain):
        await dispatcher.set_job_state("job-1", JobState.CANCELLED)
    store.full = False
    await check_memory(dispatcher)
    await agent.deliver(ended(task))
    assert len(await agent.lease()) == 1


async def test_a_cancel_waits_for_ends_and_grants_that_are_being_written(
    dispatcher: Dispatcher, store: FullDisk
) -> None:
    agent, [task] = await running(dispatcher)
    other = await Agent(dispatcher, "w2").register()
    store.quick.clear()
    delivering = asyncio.create_task(agent.deliver(ended(task, "failed")))
    leasing = asyncio.create_task(other.lease())
    await asyncio.sleep(0.01)
    cancelling = asyncio.create_task(dispatcher.set_job_state("job-1", JobState.CANCELLED))
    await asyncio.sleep(0.01)
    store.quick.set()
    assert await delivering == ["recorded"]
    assert len(await leasing) == 1
    await cancelling
    progress = dispatcher.progress("job-1")
    assert progress is not None
    assert (progress.cancelled, progress.running, progress.queued) == (1, 1, 0)


async def test_a_closed_job_is_out_of_memory_and_its_results_stay(dispatcher: Dispatcher) -> None:
    agent, [task] = await running(dispatcher, 1)
    await agent.deliver(ended(task))
    await dispatcher.set_job_state("job-1", JobState.CLOSED)
    assert dispatcher.progress("job-1") is None
    assert len(await dispatcher.results("job-1")) == 1
    assert await agent.deliver(ended(task)) == ["duplicate"]


async def test_a_forgotten_job_is_gone_and_who_runs_it_is_told_at_once(dispatcher: Dispatcher, store: FullDisk) -> None:
    agent, found = await running(dispatcher)
    told = renewing(agent, found)
    await asyncio.sleep(0)
    await dispatcher.forget(["job-1", "never-heard-of"])
    async with asyncio.timeout(2):
        assert (await told).lost == (hold(found[0]),)
    assert await agent.deliver(ended(found[0])) == ["unknown"]
    assert await store.known_jobs() == []
    assert dispatcher.load("default/pool").running == 0


async def test_forgetting_that_could_not_be_written_leaves_the_job_leasable(
    dispatcher: Dispatcher, store: FullDisk
) -> None:
    await dispatcher.submit(job(), tasks())
    store.full = True
    with pytest.raises(TryAgain):
        await dispatcher.forget(["job-1"])
    store.full = False
    agent = await Agent(dispatcher).register()
    assert len(await agent.lease()) == 1


async def test_a_result_that_comes_while_its_job_is_forgotten_stops_nothing(
    dispatcher: Dispatcher, store: FullDisk
) -> None:
    agent, [task] = await running(dispatcher)
    store.quick.clear()
    forgetting = asyncio.create_task(dispatcher.forget(["job-1"]))
    await asyncio.wait_for(store.forgotten.wait(), 5)
    try:
        await agent.deliver(ended(task))
    finally:
        store.quick.set()
        await forgetting
    assert not dispatcher.core.stopped
    assert dispatcher.load("default/pool").running == 0


async def test_states_of_unknown_jobs_are_nothing_to_change(dispatcher: Dispatcher) -> None:
    await dispatcher.set_job_state("nobody", JobState.CANCELLED)
    assert dispatcher.progress("nobody") is None


async def test_an_idle_worker_that_shall_drain_may_be_stopped_and_is_told_at_once(dispatcher: Dispatcher) -> None:
    agent = await Agent(dispatcher).register()
    leasing = asyncio.create_task(dispatcher.desk.lease(agent.worker, LeaseRequest(1, 30.0)))
    told = renewing(agent, [])
    await asyncio.sleep(0)
    assert await dispatcher.begin_drain(pool="default/pool", worker="w1")
    async with asyncio.timeout(2):
        assert await leasing == ([], True)
        assert (await told).drain
    assert dispatcher.load("default/pool").workers[0].draining


async def test_a_busy_worker_that_shall_drain_is_not_to_be_stopped_until_its_task_has_ended(
    dispatcher: Dispatcher,
) -> None:
    agent, [task] = await running(dispatcher)
    assert not await dispatcher.begin_drain(pool="default/pool", worker="w1")
    await agent.deliver(ended(task))
    assert await agent.lease() == []
    assert await dispatcher.begin_drain(pool="default/pool", worker="w1")


async def test_a_worker_whose_grant_is_being_written_holds_something(dispatcher: Dispatcher) -> None:
    await dispatcher.submit(job(), tasks())
    agent = await Agent(dispatcher).register()
    leasing = asyncio.create_task(agent.lease())
    await asyncio.sleep(0)
    assert not await dispatcher.begin_drain(pool="default/pool", worker="w1")
    assert len(await leasing) == 1


async def test_a_worker_that_is_drained_before_it_registers_gets_nothing(dispatcher: Dispatcher) -> None:
    await dispatcher.submit(job(), tasks())
    assert await dispatcher.begin_drain(pool="default/pool", worker="w1")
    agent = await Agent(dispatcher).register()
    assert await dispatcher.desk.lease(agent.worker, LeaseRequest(1, 30.0)) == ([], True)


async def test_a_silent_worker_is_forgotten(store: FullDisk) -> None:
    skipped = 0.0
    real = asyncio.get_running_loop().time
    async with Dispatcher(store, holder="test", clock=lambda: real() + skipped) as dispatcher:
        agent = await Agent(dispatcher).register()
        skipped = 60.0
        dispatcher.timekeeper.forget_silent(dispatcher.core.clock())
        assert dispatcher.load("default/pool").workers == ()
        with pytest.raises(SessionUnknown):
            await agent.lease()
