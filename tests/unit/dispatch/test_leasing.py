"""Submitting and leasing."""

from __future__ import annotations

import asyncio

import pytest

from mahavishnu_operator.api.wire import LeaseRequest
from mahavishnu_operator.dispatch.callers import Caller
from mahavishnu_operator.dispatch.dispatcher import Dispatcher
from mahavishnu_operator.dispatch.errors import ClientGone, TryAgain
from mahavishnu_operator.dispatch.ledger import Task
from mahavishnu_operator.store.records import JobState, TaskKey, TaskRecord, TaskState
from mahavishnu_operator.support.errors import Conflict, InvalidInput

from .harness import COMMAND, Agent, FullDisk, check_memory, ended, job, tasks, until


async def test_a_submitted_task_is_queued_and_durable(dispatcher: Dispatcher, store: FullDisk) -> None:
    await dispatcher.submit(job(), tasks())
    progress = dispatcher.progress("job-1")
    assert progress is not None
    assert (progress.total, progress.queued, progress.started) == (1, 1, False)
    assert [task.state for task in await store.tasks("job-1")] == [TaskState.QUEUED]


async def test_submitting_again_adds_only_what_is_new(dispatcher: Dispatcher) -> None:
    await dispatcher.submit(job(), tasks(count=2))
    await dispatcher.submit(job(), tasks(count=3))
    progress = dispatcher.progress("job-1")
    assert progress is not None
    assert progress.queued == 3


async def test_a_spec_that_workers_do_not_understand_is_refused_in_words(dispatcher: Dispatcher) -> None:
    with pytest.raises(InvalidInput, match="spec of task job-1/t0"):
        await dispatcher.submit(job(), [TaskRecord(TaskKey("job-1", "t0"), 0, b'{"kind":"dance"}')])
    assert dispatcher.progress("job-1") is None


async def test_a_task_of_another_job_is_refused(dispatcher: Dispatcher) -> None:
    with pytest.raises(InvalidInput, match="not its own"):
        await dispatcher.submit(job(), tasks("job-2"))


async def test_a_closed_job_takes_no_tasks(dispatcher: Dispatcher) -> None:
    await dispatcher.submit(job(), [])
    await dispatcher.set_job_state("job-1", JobState.CLOSED)
    with pytest.raises(Conflict, match="closed"):
        await dispatcher.submit(job(), tasks())


async def test_a_grant_is_durable_when_it_is_answered(dispatcher: Dispatcher, store: FullDisk) -> None:
    await dispatcher.submit(job(), tasks())
    agent = await Agent(dispatcher).register()
    [leased] = await agent.lease()
    [grant] = await store.open_grants()
    assert (grant.key, grant.attempt, grant.worker, grant.epoch) == (leased.key, 1, "default/pool/w1", dispatcher.epoch)


async def test_a_task_is_leased_to_one_worker_only(dispatcher: Dispatcher) -> None:
    await dispatcher.submit(job(), tasks())
    first, second = await Agent(dispatcher).register(), await Agent(dispatcher, "w2").register()
    leased = await asyncio.gather(first.lease(), second.lease())
    assert sorted(len(found) for found in leased) == [0, 1]


async def test_another_pools_tasks_are_not_leased(dispatcher: Dispatcher) -> None:
    await dispatcher.submit(job(pool="default/other"), tasks())
    agent = await Agent(dispatcher).register()
    assert await agent.lease() == []


async def test_a_waiting_worker_gets_a_task_as_soon_as_it_is_submitted(dispatcher: Dispatcher) -> None:
    agent = await Agent(dispatcher).register()
    waiting = asyncio.create_task(agent.lease(wait=30))
    await asyncio.sleep(0)
    await dispatcher.submit(job(), tasks())
    async with asyncio.timeout(2):
        assert len(await waiting) == 1


async def test_waiting_workers_are_all_served(dispatcher: Dispatcher) -> None:
    agents = [await Agent(dispatcher, f"w{n}").register() for n in range(5)]
    waiting = [asyncio.create_task(agent.lease(wait=30)) for agent in agents]
    await asyncio.sleep(0)
    await dispatcher.submit(job(), tasks(count=5, spec=COMMAND))
    async with asyncio.timeout(2):
        assert [len(await leased) for leased in waiting] == [1] * 5


async def test_a_worker_that_waits_in_vain_is_answered_when_its_time_is_up(dispatcher: Dispatcher) -> None:
    agent = await Agent(dispatcher).register()
    assert await agent.lease(wait=0.01) == []


async def test_a_caller_that_hung_up_is_granted_nothing_and_the_next_one_is(dispatcher: Dispatcher) -> None:
    first, second = await Agent(dispatcher).register(), await Agent(dispatcher, "w2").register()
    hung_up = asyncio.Event()
    caller = Caller(hung_up.wait)
    lost = asyncio.create_task(dispatcher.desk.lease(first.worker, LeaseRequest(1, 30), caller=caller))
    served = asyncio.create_task(second.lease(wait=30))
    await asyncio.sleep(0)
    hung_up.set()
    await dispatcher.submit(job(), tasks())
    with pytest.raises(ClientGone):
        await lost
    async with asyncio.timeout(2):
        assert len(await served) == 1


async def test_a_wake_that_reaches_a_cancelled_request_is_passed_on(dispatcher: Dispatcher) -> None:
    agents = [await Agent(dispatcher, name).register() for name in ("w1", "w2")]
    await dispatcher.submit(job(), tasks(count=3, spec=COMMAND))
    for agent in agents:
        assert len(await agent.lease()) == 1
    cancelled, served = [asyncio.create_task(agent.lease(wait=30)) for agent in agents]
    await asyncio.sleep(0)
    for agent in agents:
        agent.worker.slots = 2
    dispatcher.core.waiting.wake("default/pool")
    cancelled.cancel()
    async with asyncio.timeout(2):
        assert [task.key.task for task in await served] == ["t2"]


async def test_a_wake_that_reaches_a_worker_that_shall_drain_is_passed_on(dispatcher: Dispatcher) -> None:
    first, second = await Agent(dispatcher).register(), await Agent(dispatcher, "w2").register()
    drained = asyncio.create_task(first.lease(wait=30.0))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(second.lease(wait=30.0))
    await asyncio.sleep(0)
    dispatcher.core.job_listeners.append(lambda _: dispatcher.core.workers.drain(first.worker.id))
    await dispatcher.submit(job(), tasks())
    async with asyncio.timeout(5):
        assert await drained == []
        assert [task.key.task for task in await waiting] == ["t0"]


async def test_a_grant_whose_request_is_cancelled_meanwhile_stays_a_lease(dispatcher: Dispatcher) -> None:
    agent = await Agent(dispatcher).register()
    await dispatcher.submit(job(), tasks())
    request = asyncio.create_task(agent.lease())
    await asyncio.sleep(0)
    request.cancel()
    await until(dispatcher, lambda: dispatcher.core.leases.count_of(agent.worker.id) == 1)
    with pytest.raises(asyncio.CancelledError):
        await request


async def test_a_worker_gets_no_more_long_tasks_than_it_has_free_slots(dispatcher: Dispatcher) -> None:
    await dispatcher.submit(job(), tasks(count=8, spec=COMMAND))
    agent = await Agent(dispatcher, slots=2).register()
    assert len(await agent.lease(8)) == 2
    assert await agent.lease(8) == []


async def test_tasks_that_are_over_at_once_are_leased_in_batches_shared_between_workers(dispatcher: Dispatcher) -> None:
    await dispatcher.submit(job(), tasks(count=20))
    first, second = await Agent(dispatcher).register(), await Agent(dispatcher, "w2").register()
    assert len(await first.lease(64)) == 10
    assert len(await second.lease(64)) == 5


async def test_a_command_is_never_leased_ahead_of_a_free_slot_however_short_the_others_were(
    dispatcher: Dispatcher,
) -> None:
    await dispatcher.submit(job(), tasks(count=16, spec=COMMAND))
    agent = await Agent(dispatcher).register()
    for _ in range(10):
        [task] = await agent.lease(8)
        await agent.deliver(ended(task))
    assert len(await agent.lease(8)) == 1


async def test_a_full_worker_that_waits_does_not_keep_others_from_being_woken(dispatcher: Dispatcher) -> None:
    busy, idle = await Agent(dispatcher).register(), await Agent(dispatcher, "w2").register()
    await dispatcher.submit(job(), tasks(count=1, spec=COMMAND))
    await busy.lease()
    greedy = asyncio.create_task(busy.lease(wait=30))
    served = asyncio.create_task(idle.lease(wait=30))
    await asyncio.sleep(0)
    await dispatcher.submit(job(), tasks(count=1, begin=1, spec=COMMAND))
    async with asyncio.timeout(2):
        assert len(await served) == 1
    greedy.cancel()
    await asyncio.wait({greedy})


async def test_a_freed_slot_of_a_jobs_parallelism_wakes_who_waits(dispatcher: Dispatcher) -> None:
    await dispatcher.submit(job(parallelism=1), tasks(count=2, spec=COMMAND))
    first, second = await Agent(dispatcher).register(), await Agent(dispatcher, "w2").register()
    [task] = await first.lease()
    waiting = asyncio.create_task(second.lease(wait=30))
    await asyncio.sleep(0)
    assert not waiting.done()
    await first.deliver(ended(task))
    async with asyncio.timeout(2):
        assert [found.key.task for found in await waiting] == ["t1"]


async def test_a_backed_off_task_wakes_who_waits_when_it_is_ripe(dispatcher: Dispatcher) -> None:
    await dispatcher.submit(job(), tasks())
    agent = await Agent(dispatcher).register()
    [task] = await agent.lease()
    await agent.deliver(ended(task, "failed"))
    assert await agent.lease() == []
    async with asyncio.timeout(5):
        [again] = await agent.lease(wait=30)
    assert again.attempts == 2


async def test_a_full_disk_leaves_the_task_queued_and_says_try_again(dispatcher: Dispatcher, store: FullDisk) -> None:
    await dispatcher.submit(job(), tasks(count=2))
    agent = await Agent(dispatcher).register()
    store.full = True
    with pytest.raises(TryAgain, match="disk is full"):
        await agent.lease(2)
    await check_memory(dispatcher)
    store.full = False
    leased: list[Task] = []
    async with asyncio.timeout(5):
        while len(leased) < 2:  # each waits for a moment of its own before it is granted again
            leased += await agent.lease(2, wait=30)


async def test_a_grant_that_the_disk_refused_goes_to_whoever_waits_next(
    dispatcher: Dispatcher, store: FullDisk
) -> None:
    first, second = await Agent(dispatcher).register(), await Agent(dispatcher, "w2").register()
    refused = asyncio.create_task(first.lease(wait=30.0))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(second.lease(wait=30.0))
    await asyncio.sleep(0)
    store.full = True
    await dispatcher.submit(job(), tasks())
    with pytest.raises(TryAgain):
        await refused
    store.full = False
    async with asyncio.timeout(5):
        assert [task.key.task for task in await waiting] == ["t0"]


async def test_the_load_of_a_pool_says_what_waits_and_who_works(dispatcher: Dispatcher) -> None:
    await dispatcher.submit(job(), tasks(count=3, spec=COMMAND))
    agent = await Agent(dispatcher).register()
    [task] = await agent.lease()
    load = dispatcher.load("default/pool")
    assert (load.queued, load.backlog, load.running, load.idle_since) == (2, 2, 1, None)
    assert [(w.name, w.held, w.idle_seconds) for w in load.workers] == [("w1", 1, None)]
    await agent.deliver(ended(task))
    load = dispatcher.load("default/pool")
    assert (load.completed_total, load.workers[0].held, load.workers[0].tasks_done) == (1, 0, 1)
    assert load.workers[0].idle_seconds is not None


async def test_a_pool_without_work_says_since_when(dispatcher: Dispatcher) -> None:
    await dispatcher.submit(job(), tasks())
    agent = await Agent(dispatcher).register()
    assert dispatcher.load("default/pool").idle_since is None
    [task] = await agent.lease()
    await agent.deliver(ended(task))
    assert dispatcher.load("default/pool").idle_since is not None


async def test_a_pool_never_heard_of_is_zeros(dispatcher: Dispatcher) -> None:
    load = dispatcher.load("default/nobody")
    assert (load.queued, load.running, load.workers) == (0, 0, ())


async def test_listeners_hear_of_a_job_once_for_many_changes(dispatcher: Dispatcher) -> None:
    heard: list[str] = []
    await dispatcher.submit(job(), tasks(count=10))
    agent = await Agent(dispatcher).register()
    leased = await agent.lease(10)
    await asyncio.sleep(0)
    dispatcher.on_job_changed(heard.append)
    await agent.deliver(*map(ended, leased))
    await until(dispatcher, lambda: bool(heard))
    assert heard == ["job-1"]
    await dispatcher.set_job_state("job-1", JobState.CLOSED)  # whoever closes it knows
    await asyncio.sleep(0)
    assert heard == ["job-1"]
