"""Short commands are leased ahead of a free slot; whoever was wrong about them hands them back for free."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mahavishnu_operator.api.reasons import FailureClass
from mahavishnu_operator.api.wire import PlanTask, ReleaseRequest, TaskSpec
from mahavishnu_operator.dispatch.dispatcher import Dispatcher
from mahavishnu_operator.dispatch.ledger import Task
from mahavishnu_operator.dispatch.lookahead import AHEAD_SECONDS, STUCK_SECONDS, Pace, most_held
from mahavishnu_operator.store.records import JobState

from .harness import COMMAND, Agent, FullDisk, check_memory, ended, hold, job, tasks

PLAN = PlanTask(root="/", tools=("ruff",))


async def lease_after_one(
    agent: Agent, *, seconds: float = 0.001, spec: TaskSpec = COMMAND, ahead: bool = True, count: int = 21
) -> list[Task]:
    """What a worker of one slot is leased of a job of `count` tasks whose first took that long."""
    await agent.dispatcher.submit(job(), tasks(count=count, spec=spec))
    [first] = await agent.lease(64, ahead=ahead)
    await agent.deliver(replace(ended(first), exit_code=0, duration_seconds=seconds))
    return await agent.lease(64, ahead=ahead)


async def test_short_commands_are_leased_ahead(dispatcher: Dispatcher, store: FullDisk) -> None:
    agent = await Agent(dispatcher).register()
    assert len(await lease_after_one(agent)) == 20
    assert len(await store.open_grants()) == 20
    await check_memory(dispatcher)


@pytest.mark.parametrize(
    ("seconds", "leased"), [(AHEAD_SECONDS / 4, 5), (AHEAD_SECONDS, 2), (2 * AHEAD_SECONDS, 1), (600.0, 1)]
)
async def test_no_more_than_a_moments_work_is_leased_ahead(dispatcher: Dispatcher, seconds: float, leased: int) -> None:
    assert len(await lease_after_one(await Agent(dispatcher).register(), seconds=seconds)) == leased


async def test_nothing_is_leased_ahead_to_a_worker_that_does_not_know_how_to_hand_it_back(
    dispatcher: Dispatcher,
) -> None:
    assert len(await lease_after_one(await Agent(dispatcher).register(), ahead=False)) == 1


async def test_nothing_is_leased_ahead_of_a_job_of_which_nothing_is_known(dispatcher: Dispatcher) -> None:
    agent = await Agent(dispatcher).register()
    await dispatcher.submit(job(), tasks(count=10, spec=COMMAND))
    assert len(await agent.lease(64, ahead=True)) == 1


async def test_parts_of_a_scan_are_never_leased_ahead(dispatcher: Dispatcher) -> None:
    assert len(await lease_after_one(await Agent(dispatcher).register(), spec=PLAN)) == 1


async def test_a_worker_is_leased_no_more_ahead_than_its_share(dispatcher: Dispatcher) -> None:
    agents = [await Agent(dispatcher, f"w{n}").register() for n in range(4)]
    assert len(await lease_after_one(agents[0])) == 5
    assert len(await agents[1].lease(64, ahead=True)) == 4


async def test_nothing_is_leased_ahead_while_there_is_too_little_for_every_worker(dispatcher: Dispatcher) -> None:
    agents = [await Agent(dispatcher, f"w{n}").register() for n in range(4)]
    assert len(await lease_after_one(agents[0], count=4)) == 1
    assert await agents[0].lease(64, ahead=True) == []
    assert len(await agents[1].lease(64, ahead=True)) == 1


async def test_the_parallelism_of_a_job_holds_for_what_is_leased_ahead(dispatcher: Dispatcher) -> None:
    agent = await Agent(dispatcher).register()
    await dispatcher.submit(job(parallelism=3), tasks(count=20, spec=COMMAND))
    [first] = await agent.lease(1, ahead=True)
    await agent.deliver(replace(ended(first), exit_code=0))
    assert len(await agent.lease(64, ahead=True)) == 3
    assert await agent.lease(64, ahead=True) == []


async def test_what_is_handed_back_unstarted_counts_as_nothing(dispatcher: Dispatcher, store: FullDisk) -> None:
    agent = await Agent(dispatcher).register()
    leased = await lease_after_one(agent)
    holds = tuple(hold(task) for task in leased[1:])
    await dispatcher.desk.release(agent.worker, ReleaseRequest(holds, "it stood behind a long one", unstarted=True))
    progress = dispatcher.progress("job-1")
    assert progress is not None
    assert (progress.queued, progress.running, progress.retried) == (19, 1, 0)
    assert {(task.charged, task.lost) for task in await store.tasks("job-1")} == {(0, 0)}
    await check_memory(dispatcher)


async def test_a_task_that_was_handed_back_is_leased_to_a_free_slot_alone(dispatcher: Dispatcher) -> None:
    agent, other = await Agent(dispatcher).register(), await Agent(dispatcher, "w2").register()
    leased = await lease_after_one(agent)
    holds = tuple(hold(task) for task in leased)
    await dispatcher.desk.release(agent.worker, ReleaseRequest(holds, unstarted=True))
    assert [task.attempts for task in await other.lease(64, ahead=True)] == [2]


async def test_a_second_attempt_is_not_handed_back_for_free(dispatcher: Dispatcher, store: FullDisk) -> None:
    agent = await Agent(dispatcher).register()
    await dispatcher.submit(job(), tasks(spec=COMMAND))
    for _ in range(2):
        [leased] = await agent.lease()
        await dispatcher.desk.release(agent.worker, ReleaseRequest((hold(leased),), unstarted=True))
    [stored] = await store.tasks("job-1")
    assert (stored.attempts, stored.lost) == (2, 1)
    await check_memory(dispatcher)


async def test_a_lease_that_a_leaving_worker_never_heard_of_counts_as_nothing(
    dispatcher: Dispatcher, store: FullDisk
) -> None:
    agent = await Agent(dispatcher).register()
    await dispatcher.submit(job(), tasks(spec=COMMAND))
    await agent.lease()
    await dispatcher.desk.leave(agent.worker)
    [stored] = await store.tasks("job-1")
    assert (stored.attempts, stored.charged, stored.lost) == (1, 0, 0)
    await check_memory(dispatcher)


async def test_a_cancelled_jobs_task_that_is_handed_back_unstarted_is_cancelled(dispatcher: Dispatcher) -> None:
    agent = await Agent(dispatcher).register()
    leased = await lease_after_one(agent)
    await dispatcher.set_job_state("job-1", JobState.CANCELLED)
    holds = tuple(hold(task) for task in leased)
    await dispatcher.desk.release(agent.worker, ReleaseRequest(holds, unstarted=True))
    progress = dispatcher.progress("job-1")
    assert progress is not None
    assert (progress.done, progress.cancelled) == (True, 20)
    await check_memory(dispatcher)


async def test_a_busy_worker_that_waits_is_woken_for_what_it_may_have_ahead(dispatcher: Dispatcher) -> None:
    agent = await Agent(dispatcher).register()
    await dispatcher.submit(job(), tasks(count=2, spec=COMMAND))
    [first] = await agent.lease(1, ahead=True)
    await agent.deliver(replace(ended(first), exit_code=0))
    assert len(await agent.lease(1, ahead=True)) == 1
    waiting = asyncio.create_task(agent.lease(64, wait=60, ahead=True))
    await asyncio.sleep(0)
    await dispatcher.submit(job(), tasks(count=10, spec=COMMAND))
    async with asyncio.timeout(30):
        assert len(await waiting) == 8


@given(
    slots=st.integers(1, 64),
    seconds=st.none() | st.floats(0, 1e9),
    oldest=st.floats(0, 1e6),
    max_batch=st.integers(1, 64),
)
def test_a_worker_may_always_hold_its_slots_and_ahead_a_bounded_time_of_work(
    slots: int, seconds: float | None, oldest: float, max_batch: int
) -> None:
    most = most_held(slots=slots, pace=Pace(seconds), oldest_seconds=oldest, max_batch=max_batch)
    assert slots <= most <= slots + max_batch
    if seconds is None or oldest > STUCK_SECONDS:
        assert most == slots
    else:
        assert (most - slots) * seconds <= slots * AHEAD_SECONDS * 1.000001


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_no_duration_that_a_worker_says_makes_a_pace_that_is_none(durations: list[float]) -> None:
    pace = Pace()
    for seconds in durations:
        pace = pace.after(seconds)
    assert pace.seconds is not None
    assert 0.0 <= pace.seconds <= 1e9


def test_only_failures_of_the_tool_are_charged_and_only_losses_are_lost() -> None:
    assert [failure for failure in FailureClass if failure.charged] == [FailureClass.TOOL]
    assert [failure for failure in FailureClass if failure.lost] == [FailureClass.WORKER_LOST, FailureClass.DISRUPTED]
