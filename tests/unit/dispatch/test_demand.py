"""What workers made for one task each are needed for, and what they may be leased."""

from __future__ import annotations

import pytest

from mahavishnu_operator.api.reasons import FailureClass
from mahavishnu_operator.dispatch.dispatcher import Dispatcher
from mahavishnu_operator.dispatch.protocol import Demand, Identity
from mahavishnu_operator.store.records import JobState

from .harness import COMMAND, POOL, Agent, ended, job, tasks


@pytest.fixture
def once(dispatcher: Dispatcher) -> Dispatcher:
    """Workers whose token was not issued here are made for one task."""

    async def identify(token: str) -> Identity:
        return Identity(POOL, token, guarded=False, once=True)

    dispatcher.admission.ask(identify)
    return dispatcher


async def worker(dispatcher: Dispatcher, name: str = "w1") -> Agent:
    return await Agent(dispatcher, name, token=name).register()


async def test_tasks_that_may_run_are_wanted_and_the_longest_time_out_among_them(dispatcher: Dispatcher) -> None:
    await dispatcher.submit(job(task_timeout_seconds=30.0), tasks(count=2))
    await dispatcher.submit(job("job-2", task_timeout_seconds=90.0), tasks("job-2"))
    assert dispatcher.demand(POOL, ()) == Demand(tasks=3, longest_seconds=90.0)


async def test_parallelism_bounds_what_is_wanted(once: Dispatcher) -> None:
    await once.submit(job(parallelism=2), tasks(count=5, spec=COMMAND))
    assert once.demand(POOL, ()).tasks == 2
    await (await worker(once)).lease()
    assert once.demand(POOL, ()).tasks == 1


async def test_a_suspended_job_and_one_for_another_worker_want_nobody(dispatcher: Dispatcher) -> None:
    await dispatcher.submit(job(), tasks(count=2))
    await dispatcher.set_job_state("job-1", JobState.SUSPENDED)
    await dispatcher.submit(job("job-2", worker="w9"), tasks("job-2"))
    assert dispatcher.demand(POOL, ()).tasks == 0


async def test_a_task_that_waits_for_its_next_try_is_wanted_later(once: Dispatcher) -> None:
    await once.submit(job(max_attempts=2), tasks(spec=COMMAND))
    agent = await worker(once)
    (task,) = await agent.lease()
    await agent.deliver(ended(task, "failed"))
    demand = once.demand(POOL, ())
    assert demand.tasks == 0
    assert demand.ripe_in == pytest.approx(1.0, abs=0.5)


async def test_a_worker_made_for_one_task_is_leased_one_and_no_other(once: Dispatcher) -> None:
    await once.submit(job(), tasks(count=3))
    agent = await worker(once)
    (task,) = await agent.lease(9, ahead=True)
    assert once.demand(POOL, ["w1"]).holding == {"w1"}
    await agent.deliver(ended(task))
    assert await agent.lease(9) == []
    (view,) = once.load(POOL).workers
    assert (view.held, view.spent) == (0, True)


async def test_one_that_left_is_remembered_until_it_is_gone(once: Dispatcher) -> None:
    agent = await worker(once)
    await once.desk.leave(agent.worker)
    assert once.demand(POOL, ["w1"]).left == {"w1"}
    await once.worker_gone(pool=POOL, worker="w1", message="it ended")
    assert once.demand(POOL, ["w1"]).left == frozenset()


async def test_a_loss_of_class_tool_is_charged_to_the_task(once: Dispatcher) -> None:
    await once.submit(job(max_attempts=1), tasks(spec=COMMAND))
    await (await worker(once)).lease()
    await once.worker_gone(pool=POOL, worker="w1", message="OOMKilled", failure=FailureClass.TOOL, reason="OOMKilled")
    result = await once.result("job-1", "t0")
    assert result is not None
    assert (result.status, result.reason) == ("failed", "AttemptsExhausted")
    assert "OOMKilled" in result.message


async def test_a_worker_that_dies_before_it_leased_charges_no_task(once: Dispatcher) -> None:
    await once.submit(job(max_attempts=1), tasks(spec=COMMAND))
    await worker(once)
    await once.worker_gone(pool=POOL, worker="w1", message="x", failure=FailureClass.TOOL, reason="OOMKilled")
    assert once.demand(POOL, ()).tasks == 1
