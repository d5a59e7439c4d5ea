"""Restarts, take-overs and workers that come back."""

from __future__ import annotations

import asyncio
import time

import pytest

from mahavishnu_operator.api.wire import Hold, RenewRequest
from mahavishnu_operator.dispatch.core import Pace
from mahavishnu_operator.dispatch.dispatcher import Dispatcher
from mahavishnu_operator.dispatch.errors import CallRefused, Forbidden, NotLeader, ProtocolUnsupported, Starting
from mahavishnu_operator.dispatch.ledger import Task
from mahavishnu_operator.store.protocol import StaleEpoch
from mahavishnu_operator.store.records import GrantRecord, JobState, TaskKey, TaskState
from mahavishnu_operator.support.errors import Conflict

from .harness import COMMAND, Agent, FullDisk, check_memory, ended, hold, job, tasks

SHORT = Pace(lease_seconds=1.0, renew_seconds=0.2)


async def leased_before(store: FullDisk) -> tuple[str, Task]:
    """A task leased to w1 by a dispatcher that is gone; w1's token and the task."""
    async with Dispatcher(store, holder="before", pace=SHORT) as before:
        await before.submit(job(), tasks(count=2, spec=COMMAND))
        agent = await Agent(before).register()
        [task] = await agent.lease()
        return agent.token, task


async def test_a_restart_finds_jobs_queue_and_leases(store: FullDisk) -> None:
    _, _task = await leased_before(store)
    async with Dispatcher(store, holder="after") as after:
        assert after.epoch == 2
        progress = after.progress("job-1")
        assert progress is not None
        assert (progress.queued, progress.running, progress.started) == (1, 1, True)
        await check_memory(after)


async def test_after_a_restart_nothing_is_leased_again_before_its_deadline(store: FullDisk) -> None:
    _, task = await leased_before(store)
    begun = time.monotonic()  # the deadline counts from the take-over, which comes after this
    async with Dispatcher(store, holder="after", pace=SHORT) as after:
        agent = await Agent(after, "w2", slots=2).register()
        [other] = await agent.lease(2)
        assert other.key != task.key
        async with asyncio.timeout(10):
            [again] = await agent.lease(1, wait=30)
        assert (again.key, again.attempts) == (task.key, 2)
        assert after.core.clock() - begun >= SHORT.lease_seconds


async def test_a_lease_that_its_worker_still_holds_is_its_own_again(store: FullDisk) -> None:
    token, task = await leased_before(store)
    async with Dispatcher(store, holder="after", pace=SHORT) as after:
        agent = await Agent(after, token=token).register(holds=[hold(task)])
        begun = after.core.clock()
        while after.core.clock() < begun + 1.5 * SHORT.lease_seconds:
            answer = await after.desk.renew(agent.worker, RenewRequest((hold(task),), wait_seconds=0.2))
            assert answer.lost == ()
        assert await agent.deliver(ended(task)) == ["recorded"]
        assert (await after.result("job-1", task.key.task)) is not None


async def test_a_result_finished_during_the_restart_counts(store: FullDisk) -> None:
    token, task = await leased_before(store)
    async with Dispatcher(store, holder="after") as after:
        agent = await Agent(after, token=token).register()
        assert await agent.deliver(ended(task)) == ["recorded"]


async def test_a_worker_known_to_be_dead_frees_its_lease_at_once_after_a_restart(store: FullDisk) -> None:
    _, _task = await leased_before(store)
    async with Dispatcher(store, holder="after") as after:
        await after.worker_gone(pool="default/pool", worker="w1", message="its pid is gone")
        progress = after.progress("job-1")
        assert progress is not None
        assert (progress.queued, progress.running) == (2, 0)
        agent = await Agent(after, "w2", slots=2).register()
        async with asyncio.timeout(10):
            attempts = [(await agent.lease(1, wait=30))[0].attempts for _ in range(2)]
        assert attempts == [1, 2]


async def test_a_cancelled_job_stays_cancelled_over_a_restart(store: FullDisk) -> None:
    async with Dispatcher(store, holder="before") as before:
        await before.submit(job(), tasks(count=2))
        await before.set_job_state("job-1", JobState.CANCELLED)
    async with Dispatcher(store, holder="after") as after:
        progress = after.progress("job-1")
        assert progress is not None
        assert (progress.state, progress.cancelled) == (JobState.CANCELLED, 2)


async def test_a_closed_job_stays_closed_over_a_restart(store: FullDisk) -> None:
    async with Dispatcher(store, holder="before") as before:
        await before.submit(job(), tasks())
        await before.set_job_state("job-1", JobState.CLOSED)
    async with Dispatcher(store, holder="after") as after:
        assert after.progress("job-1") is None
        with pytest.raises(Conflict, match="closed"):
            await after.submit(job(), tasks())


async def test_a_lease_of_a_closed_job_is_dropped_over_a_restart(store: FullDisk) -> None:
    async with Dispatcher(store, holder="before") as before:
        await before.submit(job(), tasks())
        agent = await Agent(before).register()
        [task] = await agent.lease()
        await before.set_job_state("job-1", JobState.CLOSED)
    async with Dispatcher(store, holder="after") as after:
        again = await Agent(after, token=agent.token).register(holds=[hold(task)])
        answer = await after.desk.renew(again.worker, RenewRequest((hold(task),)))
        assert answer.lost == (hold(task),)


async def test_a_dispatcher_that_was_replaced_stops_and_says_so(store: FullDisk) -> None:
    async with Dispatcher(store, holder="old") as old:
        await old.submit(job(), tasks(count=2))
        agent = await Agent(old).register()
        await store.take_epoch("new")
        with pytest.raises(NotLeader, match="took over"):
            await agent.lease()
        with pytest.raises(StaleEpoch):
            await old.run()
        with pytest.raises(NotLeader):
            await old.submit(job(), tasks(count=3))
        assert [task.state for task in await store.tasks("job-1")] == [TaskState.QUEUED] * 2


async def test_a_dispatcher_whose_store_fails_stops_because_it_cannot_know(store: FullDisk) -> None:
    async with Dispatcher(store, holder="test") as dispatcher:
        await dispatcher.submit(job(), tasks())
        behind_its_back = GrantRecord(TaskKey("job-1", "t0"), 1, dispatcher.epoch, "default/pool/somebody", 0.0, 15.0)
        await store.record_grants(dispatcher.epoch, [behind_its_back])
        agent = await Agent(dispatcher).register()
        other = await Agent(dispatcher, "w2", pool="default/other").register()
        idle = asyncio.create_task(other.lease(wait=30))
        await asyncio.sleep(0)
        for request in (agent.lease(), idle):
            with pytest.raises(NotLeader):
                await request
        with pytest.raises(Conflict):
            await dispatcher.run()


async def test_a_dispatcher_that_is_closed_ends_its_run_and_who_waits(store: FullDisk) -> None:
    dispatcher = Dispatcher(store, holder="test")
    await dispatcher.start()
    agent = await Agent(dispatcher).register()
    running = asyncio.create_task(dispatcher.run())
    waiting = asyncio.create_task(agent.lease(wait=30))
    await asyncio.sleep(0)
    await dispatcher.close()
    async with asyncio.timeout(2):
        await running
        with pytest.raises(NotLeader):
            await waiting


async def test_calls_before_the_start_are_told_to_try_again(store: FullDisk) -> None:
    dispatcher = Dispatcher(store, holder="test")
    with pytest.raises(Starting):
        await dispatcher.submit(job(), tasks())
    with pytest.raises(Starting), dispatcher.desk.call("any session"):
        pass


async def test_another_process_of_the_same_worker_ends_what_the_first_one_held(dispatcher: Dispatcher) -> None:
    await dispatcher.submit(job(), tasks(count=2, spec=COMMAND))
    first = await Agent(dispatcher, slots=2).register()
    kept, dropped = await first.lease(2)
    second = Agent(dispatcher, slots=2, token=first.token, incarnation="second")
    await second.register(holds=[hold(kept)])
    assert (kept.state, dropped.state, dropped.lost) == (TaskState.LEASED, TaskState.QUEUED, 1)
    assert await second.deliver(ended(kept)) == ["recorded"]
    with pytest.raises(CallRefused, match="session"), dispatcher.desk.call("the first session"):
        pass


async def test_the_same_process_that_registers_again_keeps_what_it_did_not_name_until_the_deadline(
    dispatcher: Dispatcher,
) -> None:
    await dispatcher.submit(job(), tasks())
    agent = await Agent(dispatcher).register()
    [task] = await agent.lease()
    await agent.register()
    assert task.state is TaskState.LEASED
    assert await agent.deliver(ended(task)) == ["recorded"]


async def test_a_replaced_session_that_waits_is_ended(dispatcher: Dispatcher) -> None:
    first = await Agent(dispatcher).register()
    waiting = asyncio.create_task(first.lease(wait=30))
    await asyncio.sleep(0)
    await Agent(dispatcher, token=first.token, incarnation="second").register()
    async with asyncio.timeout(2):
        with pytest.raises(CallRefused, match="session has ended"):
            await waiting


async def test_a_hold_that_nobody_granted_is_lost(dispatcher: Dispatcher) -> None:
    agent = await Agent(dispatcher).register(holds=[Hold("nobody/t0", 1)])
    answer = await dispatcher.desk.renew(agent.worker, RenewRequest((Hold("nobody/t0", 1),)))
    assert answer.lost == (Hold("nobody/t0", 1),)


async def test_a_token_opens_a_session_for_its_own_worker_only(dispatcher: Dispatcher) -> None:
    token = await dispatcher.issue_token(pool="default/pool", worker="w1")
    with pytest.raises(Forbidden, match="for worker 'w1'"):
        await Agent(dispatcher, "w2", token=token).register()
    with pytest.raises(CallRefused, match="token"):
        await Agent(dispatcher, token=token + "x").register()


async def test_a_token_is_stored_as_its_digest_only(dispatcher: Dispatcher, store: FullDisk) -> None:
    token = await dispatcher.issue_token(pool="default/pool", worker="w1")
    assert await store.find_token(token) is None


async def test_a_worker_of_an_unknown_protocol_is_told_which_are_spoken(dispatcher: Dispatcher) -> None:
    agent = Agent(dispatcher)
    agent.protocol = 99
    with pytest.raises(ProtocolUnsupported, match="speaks protocol 99"):
        await agent.register()
