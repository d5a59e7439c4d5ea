"""Marks of busy workers: taken back in time, put right when others wrote, and never missing under a lease."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mahavishnu_operator.dispatch import engagement
from mahavishnu_operator.dispatch.dispatcher import Dispatcher
from mahavishnu_operator.dispatch.engagement import AT_ONCE
from mahavishnu_operator.dispatch.errors import TryAgain
from mahavishnu_operator.dispatch.marks import IDLE_SECONDS, LONGEST_IDLE_SECONDS, Mark, Standing, decide_mark
from mahavishnu_operator.store.records import GrantRecord
from mahavishnu_operator.support.errors import MahavishnuError

from .guarded import Cluster, give_up, guard, turn, worker
from .harness import COMMAND, POOL, Agent, FullDisk, ended, job, tasks, until

standings = st.builds(
    Standing,
    mark=st.sampled_from(Mark),
    held=st.integers(0, 2),
    idle_seconds=st.floats(0, 9),
    cordoned=st.booleans(),
    keep_seconds=st.floats(1, 9),
)


@given(standings)
def test_the_mark_of_a_worker_with_a_lease_is_never_taken_back(one: Standing) -> None:
    assert decide_mark(one) is not False or one.held == 0


@given(standings)
def test_whoever_may_be_marked_and_is_idle_long_enough_is_unmarked(one: Standing) -> None:
    long = one.cordoned or one.idle_seconds >= one.keep_seconds
    assert (decide_mark(one) is False) == (one.held == 0 and one.mark is not Mark.CLEAR and long)


@given(standings)
def test_a_mark_is_set_where_a_lease_has_none(one: Standing) -> None:
    assert (decide_mark(one) is True) == (one.held > 0 and one.mark in (Mark.UNKNOWN, Mark.CLEAR))


async def test_a_mark_goes_after_a_while_without_a_lease_and_not_before(guarded: Dispatcher, cluster: Cluster) -> None:
    await guarded.submit(job(), tasks())
    agent = await worker(guarded)
    [task] = await agent.lease()
    cluster.skipped += 60
    await guarded.engagement.look()
    assert cluster.marked == {"w1"}
    await agent.deliver(ended(task))
    await guarded.engagement.look()
    assert cluster.marked == {"w1"}
    cluster.skipped += IDLE_SECONDS
    await guarded.engagement.look()
    assert cluster.marked == set()


async def do_job(dispatcher: Dispatcher, agent: Agent, uid: str) -> None:
    """A job of one task, from its submission to its result."""
    await dispatcher.submit(job(uid), tasks(uid))
    [task] = await agent.lease()
    await agent.deliver(ended(task))


async def test_a_mark_that_was_taken_back_too_soon_is_kept_longer_next_time(
    guarded: Dispatcher, cluster: Cluster
) -> None:
    agent = await worker(guarded)
    for number in range(4):
        await do_job(guarded, agent, f"j{number}")
        cluster.skipped += 30
        await guarded.engagement.look()
    assert cluster.writes == [("w1", True), ("w1", False), ("w1", True)]


async def test_a_pool_that_had_nothing_to_do_for_long_keeps_no_mark_longer(
    guarded: Dispatcher, cluster: Cluster
) -> None:
    agent = await worker(guarded)
    for number in range(2):
        await do_job(guarded, agent, f"j{number}")
        cluster.skipped += LONGEST_IDLE_SECONDS * (1 - number) + IDLE_SECONDS
        await guarded.engagement.look()
    assert cluster.marked == set()


async def test_one_that_was_marked_in_vain_keeps_its_mark_for_as_long(guarded: Dispatcher, cluster: Cluster) -> None:
    await guarded.submit(job(), tasks())
    agent = await worker(guarded)
    cluster.skipped += 60
    await guarded.engagement.engage(agent.worker)
    await guarded.engagement.look()
    assert cluster.marked == {"w1"}


async def test_on_a_cordoned_machine_the_mark_goes_with_the_lease_whatever_waits(
    guarded: Dispatcher, cluster: Cluster
) -> None:
    await guarded.submit(job(), tasks(count=9, spec=COMMAND))
    agent = await worker(guarded)
    [task] = await agent.lease()
    guarded.set_cordoned(pool=POOL, worker="w1", cordoned=True)
    await agent.deliver(ended(task))
    assert await agent.lease() == []
    await guarded.engagement.look()
    assert cluster.writes == [("w1", True), ("w1", False)]


async def test_a_worker_that_was_never_marked_costs_no_write(guarded: Dispatcher, cluster: Cluster) -> None:
    await worker(guarded)
    cluster.skipped += 60
    await guarded.engagement.look()
    assert cluster.writes == []


@pytest.mark.parametrize("shown", [True, None])
async def test_a_mark_from_before_a_restart_is_taken_back(
    guarded: Dispatcher, cluster: Cluster, shown: bool | None
) -> None:
    if shown is not None:
        guarded.engagement.see(pool=POOL, worker="w1", marked=shown)
    await Agent(guarded, "w1", token="w1").register()
    cluster.skipped += IDLE_SECONDS
    await guarded.engagement.look()
    assert cluster.writes == [("w1", False)]


async def test_a_mark_from_before_a_restart_is_good_for_no_lease(guarded: Dispatcher, cluster: Cluster) -> None:
    guarded.engagement.see(pool=POOL, worker="w1", marked=True)
    await guarded.submit(job(), tasks())
    agent = await Agent(guarded, "w1", token="w1").register()
    assert len(await agent.lease()) == 1
    assert cluster.writes == [("w1", True)]


async def test_a_write_of_a_predecessor_that_lands_late_is_undone(guarded: Dispatcher, cluster: Cluster) -> None:
    await worker(guarded)
    await guarded.engagement.look()
    guarded.engagement.see(pool=POOL, worker="w1", marked=True)
    cluster.skipped += IDLE_SECONDS
    await guarded.engagement.look()
    assert cluster.writes == [("w1", False)]


async def test_a_mark_that_somebody_took_off_a_busy_worker_is_set_again(guarded: Dispatcher, cluster: Cluster) -> None:
    await guarded.submit(job(), tasks())
    await (await worker(guarded)).lease()
    guarded.engagement.see(pool=POOL, worker="w1", marked=False)
    await guarded.engagement.look()
    assert cluster.writes == [("w1", True)] * 2


async def test_a_mark_that_was_not_answered_is_taken_back(guarded: Dispatcher, cluster: Cluster) -> None:
    await guarded.submit(job(), tasks())
    cluster.refusing.add("w1")
    with pytest.raises(TryAgain):
        await (await worker(guarded)).lease()
    cluster.refusing.clear()
    cluster.skipped += IDLE_SECONDS
    await guarded.engagement.look()
    assert cluster.writes == [("w1", True), ("w1", False)]


async def test_a_worker_whose_job_was_forgotten_while_it_ran_is_unmarked(guarded: Dispatcher, cluster: Cluster) -> None:
    await guarded.submit(job(), tasks())
    await (await worker(guarded)).lease()
    await guarded.forget(["job-1"])
    cluster.skipped += IDLE_SECONDS
    await guarded.engagement.look()
    assert cluster.marked == set()


async def test_a_write_that_hangs_is_not_begun_twice_and_holds_up_no_other(
    guarded: Dispatcher, cluster: Cluster
) -> None:
    await guarded.submit(job(), tasks())
    first, second = await worker(guarded, "w1"), await worker(guarded, "w2")
    await guarded.engagement.engage(first.worker)
    cluster.skipped += IDLE_SECONDS
    await guarded.engagement.engage(second.worker)
    cluster.open.clear()
    looks = [asyncio.create_task(guarded.engagement.look())]
    await turn()
    cluster.skipped += IDLE_SECONDS
    looks.append(asyncio.create_task(guarded.engagement.look()))
    await turn()
    assert cluster.writes[2:] == [("w1", False), ("w2", False)]
    cluster.open.set()
    await asyncio.gather(*looks)
    assert cluster.marked == set()


async def test_a_dispatcher_that_ends_waits_for_no_mark(
    guarded: Dispatcher, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engagement, "LOOK_SECONDS", 0.01)
    await guarded.submit(job(), tasks())
    workers = [await worker(guarded, f"w{n}") for n in range(AT_ONCE + 4)]
    for one in workers:
        await guarded.engagement.engage(one.worker)
    cluster.open.clear()
    cluster.skipped += IDLE_SECONDS
    while len(cluster.writes) < 2 * AT_ONCE + 4:
        await cluster.asked.get()
    await guarded.close()
    assert len(cluster.writes) == 2 * AT_ONCE + 4


class Watchful(FullDisk):
    """A store that is told of no grant to a worker without a mark."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        super().__init__(folder)
        self.cluster = cluster

    async def record_grants(self, epoch: int, grants: Sequence[GrantRecord]) -> None:
        assert {grant.worker.rpartition("/")[2] for grant in grants} <= self.cluster.marked
        await super().record_grants(epoch, grants)


@dataclass
class Moody(Cluster):
    """Answers when it likes, and not always well."""

    dice: random.Random = field(default_factory=random.Random)
    dispatcher: Dispatcher | None = None

    async def mark(self, pool: str, worker: str, busy: bool) -> None:
        assert self.dispatcher is not None
        if not busy:
            assert self.dispatcher.core.leases.count_of(f"{POOL}/{worker}") == 0
            self.marked.discard(worker)  # it counts as unmarked from the decision on
        await asyncio.sleep(self.dice.choice((0, 0, 0.001, 0.005)))
        if self.dice.random() < 0.1:
            raise MahavishnuError("not now")
        (self.marked.add if busy else self.marked.discard)(worker)


async def work(agent: Agent, dispatcher: Dispatcher, dice: random.Random) -> None:
    while not dispatcher.core.stopped:
        try:
            found = await agent.lease(wait=0.05)
        except TryAgain:
            continue
        await asyncio.sleep(dice.choice((0, 0, 0.003)))
        await agent.deliver(*(ended(task) for task in found))
        await dispatcher.engagement.look()


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_no_lease_is_without_a_mark_and_all_is_done(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mahavishnu_operator.dispatch.marks.IDLE_SECONDS", 0.01)
    dice = random.Random(seed)
    cluster = Moody(dice=dice)
    cluster.open.set()
    store = Watchful(tmp_path, cluster)
    async with Dispatcher(store, holder="storm") as dispatcher:
        cluster.dispatcher = dispatcher
        guard(dispatcher, cluster)
        agents = [await worker(dispatcher, f"w{n}", slots=1) for n in range(6)]
        working = [asyncio.create_task(work(agent, dispatcher, dice)) for agent in agents]
        uids = [f"job-{n}" for n in range(30)]
        for n, uid in enumerate(uids):
            await dispatcher.submit(job(uid, parallelism=n % 3), tasks(uid, count=1 + n % 4, spec=COMMAND))
            if n % 5 == 0:
                name = dice.choice(agents).name
                dispatcher.set_cordoned(pool=POOL, worker=name, cordoned=True)
                dispatcher.engagement.see(pool=POOL, worker=name, marked=dice.random() < 0.5)
            if n % 5 == 3:
                for agent in agents:
                    dispatcher.set_cordoned(pool=POOL, worker=agent.name, cordoned=False)
            await asyncio.sleep(dice.choice((0, 0.002, 0.01)))

        def done() -> bool:
            return all((found := dispatcher.progress(uid)) is not None and found.done for uid in uids)

        await until(dispatcher, done, seconds=40)
        await give_up(working)
        assert dispatcher.core.failure is None
    await store.close()
