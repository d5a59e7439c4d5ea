"""Whatever order grants, losses, results, cancellations and kills come in, the counts add up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mahavishnu_operator.store.protocol import Store
from mahavishnu_operator.store.records import JobState, Recorded, TaskState
from mahavishnu_operator.store.sqlite import SqliteStore
from mahavishnu_operator.support.errors import Conflict

from .conftest import Clock, Holder

TASKS = ("t0", "t1", "t2")
task, attempt = st.sampled_from(TASKS), st.integers(1, 3)
steps = st.one_of(
    st.tuples(st.just("grant"), task, attempt),
    st.tuples(st.just("deliver"), task, attempt),
    st.tuples(st.just("lose"), task, attempt),
    st.tuples(st.just("give up"), task, attempt),
    st.tuples(st.sampled_from(["add", "cancel", "restart"]), task, attempt),
)


async def play(make: Callable[[Clock], Store], history: list[tuple[str, str, int]]) -> None:
    held = await Holder.open(make)
    store = held.store
    recorded: Counter[str] = Counter()
    await held.add("t0", "t1")
    for verb, name, number in history:
        if verb == "grant":
            before = await store.tasks("u1")
            try:
                await held.grant(name, attempt=number)
            except Conflict:
                assert await store.tasks("u1") == before
        elif verb == "deliver":
            recorded[name] += list(await held.deliver(name, attempt=number)).count(Recorded.RECORDED)
        elif verb in ("lose", "give up"):
            await held.lose(name, attempt=number, requeue=verb == "lose")
        elif verb == "add":
            await held.add(*TASKS)
        elif verb == "cancel":
            await store.set_job_state(held.epoch, "u1", JobState.CANCELLED)
        else:
            held = await held.reopened()
            store = held.store
        await check(held, recorded)
    await store.close()


async def check(held: Holder, recorded: Counter[str]) -> None:
    tasks = await held.store.tasks("u1")
    ended = {record.key.task: record.state for record in tasks if record.state.terminal}
    results = [result for _, result in await held.store.results("u1")]
    assert {result.key.task: result.state for result in results} == ended
    assert len(results) == len(ended)
    assert {name for name, state in ended.items() if state is TaskState.SUCCEEDED} == set(+recorded)
    assert all(times <= 1 for times in recorded.values())
    leased = {record.key.task: record.attempts for record in tasks if record.state is TaskState.LEASED}
    assert {grant.key.task: grant.attempt for grant in await held.store.open_grants()} == leased


@settings(max_examples=60, deadline=None)
@given(history=st.lists(steps, max_size=25))
def test_every_history_counts_each_task_once(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("history")
    asyncio.run(play(lambda clock: SqliteStore(folder, clock=clock), history))
