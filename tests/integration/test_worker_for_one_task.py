"""A worker for one task: real agent and runner host, real dispatcher."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from mahavishnu_operator.api.reasons import FailureClass
from mahavishnu_operator.api.wire import NoopTask

from .runner_tools import gone, python
from .test_runner_host import running_tool
from .worker_tools import POOL, Bench, running_bench

LONG = 600.0  # the time-out of the bench's tasks


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with running_bench(tmp_path) as running:
        yield running


async def test_it_runs_one_task_and_both_its_containers_end_well(bench: Bench) -> None:
    agent, host = await bench.agent_with_host(one_task=LONG)
    await bench.submit(python("print(1)"), python("print(2)"))
    assert (await agent.wait(), await host.wait()) == (0, 0)
    progress = bench.dispatch.progress("u1")
    assert progress is not None
    assert (progress.succeeded, progress.queued, progress.retried) == (1, 1, 0)
    assert bench.dispatch.load(POOL).workers == ()


async def test_of_tasks_that_are_over_at_once_it_takes_one_too(bench: Bench) -> None:
    agent, _ = await bench.agent_with_host(one_task=LONG)
    await bench.submit(NoopTask(), NoopTask(), NoopTask())
    assert await agent.wait() == 0
    progress = bench.dispatch.progress("u1")
    assert progress is not None
    assert (progress.succeeded, progress.queued) == (1, 2)


async def test_it_hands_back_for_free_what_may_run_longer_than_itself(bench: Bench) -> None:
    agent, host = await bench.agent_with_host(one_task=LONG - 1)
    await bench.submit(python("print(1)"))
    assert (await agent.wait(), await host.wait()) == (0, 0)
    progress = bench.dispatch.progress("u1")
    assert progress is not None
    assert (progress.queued, progress.retried, progress.failed) == (1, 0, 0)


async def test_it_leaves_when_no_task_comes(bench: Bench) -> None:
    agent, host = await bench.agent_with_host(one_task=LONG)
    assert (await agent.wait(), await host.wait()) == (0, 0)


async def test_when_its_runners_die_it_keeps_the_lease_for_those_to_end_who_know_why(
    bench: Bench, tmp_path: Path
) -> None:
    agent, host = await bench.agent_with_host(one_task=LONG)
    pid = await running_tool(bench, tmp_path)
    host.kill()
    await host.wait()
    assert await gone(pid)
    progress = bench.dispatch.progress("u1")
    assert progress is not None
    assert progress.running == 1
    message, reason = "container runner ended with signal 9: OOMKilled", "OOMKilled"
    await bench.dispatch.worker_gone(pool=POOL, worker="w1", message=message, failure=FailureClass.TOOL, reason=reason)
    (result,) = await bench.results()
    assert (result.status, result.reason) == ("failed", "AttemptsExhausted")
    assert message in result.message
    assert await agent.wait() != 0
    assert not psutil.pid_exists(pid)
