"""Jobs that one worker alone may serve."""

from __future__ import annotations

import asyncio

import pytest

from mahavishnu_operator.dispatch.dispatcher import Dispatcher
from mahavishnu_operator.dispatch.protocol import JobProgress
from mahavishnu_operator.dispatch.queue import Taken, TaskQueue

from .harness import COMMAND, POOL, Agent, FullDisk, ended, job, tasks, until


def reserved() -> TaskQueue:
    """A job for w1 before one for anybody."""
    queue = TaskQueue()
    queue.add_job("mine", worker="w1", priority=1)
    queue.add_job("any")
    for uid in ("mine", "any"):
        queue.push(uid, "t0", seq=0)
    return queue


def test_a_task_for_one_worker_is_handed_to_no_other() -> None:
    queue = reserved()
    assert queue.pop(0.0, "w2") == Taken("any", "t0")
    assert queue.pop(0.0, "w2") is None
    assert queue.pop(0.0, "w1") == Taken("mine", "t0")


def test_its_worker_is_handed_other_tasks_too_in_order_of_priority() -> None:
    queue = reserved()
    assert [queue.pop(0.0, "w1"), queue.pop(0.0, "w1")] == [Taken("mine", "t0"), Taken("any", "t0")]


async def progress(dispatcher: Dispatcher) -> JobProgress:
    found = dispatcher.progress("job-1")
    assert found is not None
    return found


async def test_only_the_named_worker_is_leased_the_tasks(dispatcher: Dispatcher) -> None:
    await dispatcher.submit(job(worker="w2"), tasks(count=2))
    first, second = await Agent(dispatcher).register(), await Agent(dispatcher, "w2", slots=2).register()
    assert await first.lease(9) == []
    assert len(await second.lease(9)) == 2


async def test_a_named_worker_that_waits_is_woken_and_the_others_are_not(dispatcher: Dispatcher) -> None:
    first, second = await Agent(dispatcher).register(), await Agent(dispatcher, "w2").register()
    idle = asyncio.create_task(first.lease(wait=30))
    woken = asyncio.create_task(second.lease(wait=30))
    await asyncio.sleep(0)
    await dispatcher.submit(job(worker="w2"), tasks())
    async with asyncio.timeout(10):
        assert len(await woken) == 1
    assert not idle.done()
    await dispatcher.submit(job("job-2"), tasks("job-2"))
    async with asyncio.timeout(10):
        assert len(await idle) == 1


async def test_a_task_for_a_busy_worker_keeps_no_delayed_one_from_its_alarm(dispatcher: Dispatcher) -> None:
    await dispatcher.submit(job("failing"), tasks("failing", spec=COMMAND))
    first = await Agent(dispatcher).register()
    [failed] = await first.lease()
    await first.deliver(ended(failed, "failed"))
    await dispatcher.submit(job(worker="busy"), tasks())
    async with asyncio.timeout(20):
        [again] = await first.lease(wait=60)
    assert (again.key, again.attempts) == (failed.key, 2)


async def test_the_named_worker_is_kept_over_a_restart(store: FullDisk) -> None:
    async with Dispatcher(store, holder="before") as before:
        await before.submit(job(worker="w2"), tasks())
    async with Dispatcher(store, holder="after") as after:
        assert (await progress(after)).worker == "w2"
        first, second = await Agent(after).register(), await Agent(after, "w2").register()
        assert await first.lease() == []
        assert len(await second.lease()) == 1


async def test_a_job_is_told_when_its_worker_comes_drains_and_goes(dispatcher: Dispatcher) -> None:
    told: list[str] = []
    dispatcher.on_job_changed(told.append)
    await dispatcher.submit(job(worker="w2"), tasks())
    await until(dispatcher, lambda: told == ["job-1"])
    assert not (await progress(dispatcher)).worker_there
    agent = await Agent(dispatcher, "w2").register()
    await until(dispatcher, lambda: told == ["job-1"] * 2)
    assert (await progress(dispatcher)).worker_there
    await dispatcher.begin_drain(pool=POOL, worker="w2")
    await until(dispatcher, lambda: told == ["job-1"] * 3)
    assert not (await progress(dispatcher)).worker_there
    await dispatcher.desk.leave(agent.worker)
    await until(dispatcher, lambda: told == ["job-1"] * 4)


async def test_a_job_for_anybody_waits_for_no_worker(dispatcher: Dispatcher) -> None:
    await dispatcher.submit(job(), tasks())
    found = await progress(dispatcher)
    assert (found.pool, found.worker, found.worker_there) == (POOL, "", True)


@pytest.mark.parametrize("restarts", [False, True])
async def test_the_pool_given_a_job_last_is_known(store: FullDisk, restarts: bool) -> None:
    async with Dispatcher(store, holder="before") as before:
        for uid, pool in (("1", "n/a"), ("2", "n/b"), ("3", "n/a")):
            await before.submit(job(uid, pool=pool), tasks(uid))
        if not restarts:
            assert before.load("n/a").last_job > before.load("n/b").last_job > before.load("n/c").last_job
            return
    async with Dispatcher(store, holder="after") as after:
        assert after.load("n/a").last_job > after.load("n/b").last_job > after.load("n/c").last_job


async def test_a_job_submitted_again_stays_in_its_pool_with_its_worker(store: FullDisk) -> None:
    async with Dispatcher(store, holder="before") as before:
        await before.submit(job(worker="w2"), tasks())
        await before.submit(job(pool="default/other", worker="w3"), tasks(count=2))
        assert before.load("default/other").queued == 0
    [kept] = await store.open_jobs()
    assert (kept.pool, kept.worker) == (POOL, "w2")


async def serve(agent: Agent, dispatcher: Dispatcher, uids: list[str]) -> set[str]:
    """Lease and answer until all jobs are done; each task fails at first. The jobs that it served."""
    served = set()
    while not all((found := dispatcher.progress(uid)) is not None and found.done for uid in uids):
        for task in await agent.lease(2, wait=60):
            served.add(task.key.job)
            await agent.deliver(ended(task, "failed" if task.attempts == 1 else "succeeded"))
    return served


async def test_no_wake_is_lost_among_tasks_for_one_for_all_and_for_later(dispatcher: Dispatcher) -> None:
    names = [f"w{n}" for n in range(4)]
    agents = [await Agent(dispatcher, name).register() for name in names]
    uids = {f"job{n}": "" if n % 3 == 0 else names[n % 4] for n in range(24)}
    serving = [asyncio.create_task(serve(agent, dispatcher, list(uids))) for agent in agents]
    await asyncio.sleep(0)
    for n, (uid, worker) in enumerate(uids.items()):
        await dispatcher.submit(job(uid, worker=worker, priority=n % 2), tasks(uid, 2, spec=COMMAND if n % 2 else None))

    def done() -> bool:
        return all((found := dispatcher.progress(uid)) is not None and found.done for uid in uids)

    await until(dispatcher, done, seconds=40)  # a poll that nobody wakes lasts longer
    for agent in agents:
        await dispatcher.begin_drain(pool=POOL, worker=agent.name)
    for name, work in zip(names, serving, strict=True):
        assert all(uids[uid] in ("", name) for uid in await work)


async def test_what_waits_for_a_worker_that_is_not_there_is_no_backlog_and_the_pool_is_idle(
    dispatcher: Dispatcher,
) -> None:
    await dispatcher.submit(job(worker="w2"), tasks(count=3))
    load = dispatcher.load(POOL)
    assert (load.queued, load.backlog, load.idle_since is not None) == (3, 0, True)
    await Agent(dispatcher, "w2").register()
    load = dispatcher.load(POOL)
    assert (load.queued, load.backlog, load.idle_since) == (3, 0, None)
