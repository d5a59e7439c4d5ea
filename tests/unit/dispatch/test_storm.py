"""Everything at once, seeded: workers that fail, die, vanish and come back, jobs that are cancelled and forgotten.

Afterwards every task counted once, and memory is what the store says.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from msgspec.structs import replace

from mahavishnu_operator.api.wire import ReleaseRequest, RenewRequest
from mahavishnu_operator.dispatch.core import Pace
from mahavishnu_operator.dispatch.dispatcher import Dispatcher
from mahavishnu_operator.dispatch.errors import SessionUnknown, TryAgain
from mahavishnu_operator.dispatch.ledger import Task
from mahavishnu_operator.store.records import JobState
from mahavishnu_operator.support.errors import Conflict

from .harness import COMMAND, Agent, FullDisk, check_memory, ended, hold, job, tasks, until

JOBS, TASKS, WORKERS, ROUNDS = 6, 12, 4, 25


async def work(dispatcher: Dispatcher, number: int, dice: random.Random) -> None:
    """A worker that does everything a worker may do, well or badly."""
    agent = await Agent(dispatcher, f"w{number}", slots=3).register()
    for round_ in range(ROUNDS):
        try:
            found = await agent.lease(8, wait=0.02, ahead=number % 2 == 0)
            for task in found:
                await one_end(agent, task, dice)
            if dice.random() < 0.1:
                await dispatcher.desk.leave(agent.worker)
                await agent.register()
            if dice.random() < 0.1:
                dead, agent = agent, await Agent(dispatcher, f"w{number}-{round_}", slots=3).register()
                await dispatcher.worker_gone(pool=dead.pool, worker=dead.name, message="killed")
        except TryAgain:
            continue
        except SessionUnknown:
            await agent.register()


async def one_end(agent: Agent, task: Task, dice: random.Random) -> None:
    match dice.randrange(9):
        case 0:
            await agent.deliver(ended(task, "failed"))
        case 1:
            await agent.dispatcher.desk.release(agent.worker, ReleaseRequest((hold(task),)))
        case 2:
            await asyncio.gather(agent.deliver(ended(task)), agent.deliver(ended(task)), return_exceptions=True)
        case 3:
            pass  # forgotten by the worker: the deadline ends it
        case 4:
            answer = await agent.dispatcher.desk.renew(agent.worker, RenewRequest((hold(task),)))
            await agent.deliver(ended(task, "cancelled" if answer.cancel else "succeeded"))
        case 5:
            await agent.dispatcher.desk.release(agent.worker, ReleaseRequest((hold(task),), unstarted=True))
        case _:
            await agent.deliver(replace(ended(task), exit_code=0, duration_seconds=dice.choice((0.0, 0.01, 2.0))))


async def meddle(dispatcher: Dispatcher, store: FullDisk, dice: random.Random) -> None:
    """Control's side of the storm, and a disk that is full now and then."""
    for _ in range(2 * ROUNDS):
        uid = f"job-{dice.randrange(JOBS)}"
        await asyncio.sleep(0.01)
        store.full = dice.random() < 0.1
        try:
            match dice.randrange(6):
                case 0:
                    await dispatcher.set_job_state(uid, JobState.SUSPENDED)
                case 1 | 2:
                    await dispatcher.set_job_state(uid, JobState.OPEN)
                case 3 if dice.random() < 0.2:
                    await dispatcher.set_job_state(uid, JobState.CANCELLED)
                case 4 if dice.random() < 0.1:
                    await dispatcher.forget([uid])
                case _:
                    await dispatcher.submit(job(uid), tasks(uid, TASKS, spec=COMMAND))
        except (TryAgain, Conflict):
            continue
    store.full = False


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_each_task_counts_once_and_memory_is_what_the_store_says(
    tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    store = FullDisk(tmp_path)
    async with Dispatcher(store, holder="storm", pace=Pace(lease_seconds=0.3, renew_seconds=0.1)) as dispatcher:
        for number in range(JOBS):
            parallelism = dice.choice((0, 1, 3))
            record = job(f"job-{number}", priority=number % 2, parallelism=parallelism, max_attempts=3)
            await dispatcher.submit(record, tasks(f"job-{number}", TASKS, spec=COMMAND))
        agents = [work(dispatcher, number, random.Random(seed * 100 + number)) for number in range(WORKERS)]
        await asyncio.gather(meddle(dispatcher, store, dice), *agents)
        assert dispatcher.core.failure is None
        await until(dispatcher, lambda: len(dispatcher.core.leases) == 0)
        await check_memory(dispatcher)
        for uid in dispatcher.core.ledger.jobs:
            results = [name for name, _ in await dispatcher.results(uid)]
            progress = dispatcher.progress(uid)
            assert progress is not None
            assert len(results) == len(set(results)) == progress.succeeded + progress.failed + progress.cancelled
    await store.close()
