"""Marking workers busy: before a lease, and no more of them than there are tasks."""

from __future__ import annotations

import asyncio

import pytest

from mahavishnu_operator.dispatch import waiting
from mahavishnu_operator.dispatch.dispatcher import Dispatcher
from mahavishnu_operator.dispatch.engagement import AT_ONCE
from mahavishnu_operator.dispatch.errors import TryAgain
from mahavishnu_operator.dispatch.marks import IDLE_SECONDS

from .guarded import Cluster, asking, give_up, turn, worker
from .harness import COMMAND, POOL, Agent, ended, job, tasks, until


async def test_a_worker_is_marked_before_it_is_leased_anything(guarded: Dispatcher, cluster: Cluster) -> None:
    await guarded.submit(job(), tasks())
    agent = await worker(guarded)
    cluster.open.clear()
    leasing = asyncio.create_task(agent.lease(wait=30))
    await turn()
    assert (cluster.writes, guarded.load(POOL).running) == ([("w1", True)], 0)
    cluster.open.set()
    assert len(await leasing) == 1


async def test_a_worker_that_cannot_be_marked_is_leased_nothing(guarded: Dispatcher, cluster: Cluster) -> None:
    await guarded.submit(job(), tasks())
    cluster.refusing.add("w1")
    agent = await worker(guarded)
    with pytest.raises(TryAgain, match="could not be marked busy"):
        await agent.lease(wait=30)
    assert guarded.load(POOL).running == 0


async def test_of_ten_that_ask_for_one_task_one_is_marked(guarded: Dispatcher, cluster: Cluster) -> None:
    await guarded.submit(job(), tasks())
    cluster.open.clear()
    calls = await asking(guarded, 10)
    assert len(cluster.writes) == 1
    cluster.open.set()
    done, others = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    assert (len(done), len(cluster.writes)) == (1, 1)
    await give_up([*others])


async def test_as_many_as_there_are_tasks_are_marked_at_once(guarded: Dispatcher, cluster: Cluster) -> None:
    calls = await asking(guarded, 10)
    cluster.open.clear()
    await guarded.submit(job(), tasks(count=3, spec=COMMAND))
    await turn()
    assert len(cluster.writes) == 3
    cluster.open.set()
    await until(guarded, lambda: guarded.load(POOL).running == 3)
    await give_up(calls)


async def test_a_worker_with_room_for_all_tasks_is_marked_alone(guarded: Dispatcher, cluster: Cluster) -> None:
    agents = [await worker(guarded, name, slots=4) for name in ("w1", "w2")]
    calls = [asyncio.create_task(agent.lease(4, wait=30)) for agent in agents]
    await turn()
    await guarded.submit(job(), tasks(count=4, spec=COMMAND))
    done, others = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    assert ([len(call.result()) for call in done], len(cluster.writes)) == ([4], 1)
    await give_up([*others])


async def test_a_task_that_waits_for_its_next_try_marks_nobody(guarded: Dispatcher, cluster: Cluster) -> None:
    await guarded.submit(job(), tasks(spec=COMMAND))
    agent = await worker(guarded)
    [task] = await agent.lease()
    await agent.deliver(ended(task, "failed"))
    other = await worker(guarded, "w2")
    assert await other.lease() == []
    assert cluster.writes == [("w1", True)]


async def test_one_that_is_still_marked_comes_before_those_that_wait_longer(
    guarded: Dispatcher, cluster: Cluster
) -> None:
    calls = await asking(guarded, 3)
    await guarded.submit(job(), tasks())
    done, others = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    [task] = done.pop().result()
    warm = Agent(guarded, next(name for name, _ in cluster.writes))
    warm.worker = guarded.core.workers.by_id(f"{POOL}/{warm.name}")  # type: ignore[assignment]
    await warm.deliver(ended(task))
    again = asyncio.create_task(warm.lease(wait=30))
    await turn()
    await guarded.submit(job("job-2"), tasks("job-2"))
    assert len(await again) == 1
    assert len(cluster.writes) == 1
    await give_up([*others])


async def test_a_marked_one_takes_what_another_is_being_marked_for(guarded: Dispatcher, cluster: Cluster) -> None:
    first, second = await worker(guarded, "w1"), await worker(guarded, "w2")
    await guarded.submit(job(), tasks())
    [task] = await first.lease()
    cluster.open.clear()
    await guarded.submit(job("job-2"), tasks("job-2"))
    marking = asyncio.create_task(second.lease(wait=30))
    await turn()
    await first.deliver(ended(task))
    [task] = await first.lease()
    assert task.key.job == "job-2"
    cluster.open.set()
    await turn()
    assert not marking.done()
    await give_up([marking])


async def test_when_a_mark_is_refused_the_next_who_waits_is_marked(guarded: Dispatcher, cluster: Cluster) -> None:
    cluster.refusing.add("w0")
    calls = await asking(guarded, 2)
    await guarded.submit(job(), tasks())
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(answers[0], TryAgain)
    assert isinstance(answers[1], list)
    assert len(answers[1]) == 1


async def test_a_mark_that_hangs_keeps_the_task_from_nobody_for_long(
    guarded: Dispatcher, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "CLAIM_SECONDS", 0.05)
    calls = await asking(guarded, 2)
    cluster.open.clear()
    await guarded.submit(job(), tasks())
    async with asyncio.timeout(20):
        assert {await cluster.asked.get(), await cluster.asked.get()} == {"w0", "w1"}
    cluster.open.set()
    await until(guarded, lambda: guarded.load(POOL).running == 1)
    await give_up(calls)


async def test_one_whose_mark_is_just_being_taken_back_keeps_the_task_from_nobody_for_long(
    guarded: Dispatcher, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "CLAIM_SECONDS", 0.05)
    await guarded.submit(job("first"), tasks("first", spec=COMMAND))
    agent, other = await worker(guarded, "w1"), await worker(guarded, "w2")
    [task] = await agent.lease()
    await agent.deliver(ended(task))
    cluster.skipped += IDLE_SECONDS
    cluster.open.clear()
    looking = asyncio.create_task(guarded.engagement.look())
    await turn()
    calls = [asyncio.create_task(each.lease(wait=30)) for each in (agent, other)]
    await turn()
    await guarded.submit(job("second"), tasks("second", spec=COMMAND))
    while cluster.writes[-1] != ("w2", True):
        await cluster.asked.get()
    cluster.open.set()
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    await looking
    await give_up(calls)


async def test_a_task_for_one_worker_alone_marks_it_whoever_else_is_being_marked(
    guarded: Dispatcher, cluster: Cluster
) -> None:
    cluster.open.clear()
    await guarded.submit(job(), tasks())
    calls = await asking(guarded, 3)
    await guarded.submit(job("mine", worker="w2"), tasks("mine"))
    await turn()
    assert [name for name, _ in cluster.writes] == ["w0", "w2"]
    cluster.open.set()
    await until(guarded, lambda: guarded.load(POOL).running == 2)
    await give_up(calls)


async def test_a_worker_whose_turn_comes_when_its_task_is_taken_is_not_marked(
    guarded: Dispatcher, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = asyncio.Semaphore(1)
    monkeypatch.setattr(guarded.engagement, "_room", room)
    await guarded.submit(job("first"), tasks("first", spec=COMMAND))
    agent, other = await worker(guarded, "w1"), await worker(guarded, "w2")
    [task] = await agent.lease()
    async with room:
        call = asyncio.create_task(other.lease(wait=30))
        await turn()
        await guarded.submit(job("second"), tasks("second", spec=COMMAND))
        await turn()
        await agent.deliver(ended(task))
        assert len(await agent.lease()) == 1
    await turn()
    assert cluster.writes == [("w1", True)]
    await give_up([call])


async def test_a_claim_does_not_lapse_before_its_turn_has_come(
    guarded: Dispatcher, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded.engagement, "_room", asyncio.Semaphore(1))
    monkeypatch.setattr(waiting, "CLAIM_SECONDS", 0.0)
    calls = await asking(guarded, 4)
    cluster.open.clear()
    await guarded.submit(job(), tasks(count=2, spec=COMMAND))
    await turn()
    claims = guarded.core.waiting._lines[POOL]
    assert (claims.spoken_for, claims.queueing) == (2, 2)  # of the second and the third; the first one's lapsed
    cluster.open.set()
    await give_up(calls)


async def test_a_burst_for_many_workers_marks_a_few_at_a_time(guarded: Dispatcher, cluster: Cluster) -> None:
    calls = await asking(guarded, AT_ONCE + 4)
    cluster.open.clear()
    await guarded.submit(job(), tasks(count=AT_ONCE + 4, spec=COMMAND))
    for _ in range(4):
        await turn()
    assert len(cluster.writes) == AT_ONCE
    cluster.open.set()
    await until(guarded, lambda: guarded.load(POOL).running == AT_ONCE + 4)
    await give_up(calls)
