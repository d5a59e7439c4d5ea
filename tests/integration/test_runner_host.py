"""An agent and a runner host as two processes, as they are in the two containers of a Pod."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from mahavishnu_operator.api.wire import CommandTask
from mahavishnu_operator.store.records import JobState

from .runner_tools import gone, python, wait_for_file, wait_until_there
from .worker_tools import Bench, running_bench

SLEEPER = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
WAIT_FOR_FILE = """
import os, sys, time
open(sys.argv[1], "w").write(str(os.getpid()))
while not os.path.exists(sys.argv[2]): time.sleep(0.01)
"""


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with running_bench(tmp_path) as running:
        yield running


async def running_tool(bench: Bench, folder: Path) -> int:
    await bench.submit(python(SLEEPER, str(folder / "pid")))
    return int(await wait_for_file(folder / "pid"))


async def test_tools_run_below_the_host_and_not_below_the_agent(bench: Bench, tmp_path: Path) -> None:
    agent, host = await bench.agent_with_host()
    above = {process.pid for process in psutil.Process(await running_tool(bench, tmp_path)).parents()}
    assert host.pid in above
    assert agent.pid not in above


async def test_many_tasks_come_back_with_their_output(bench: Bench, tmp_path: Path) -> None:
    await bench.agent_with_host()
    await bench.submit(*[python(f"print({number})") for number in range(20)])
    assert [result.stdout for result in await bench.results()] == [f"{number}\n" for number in range(20)]
    assert [*(tmp_path / "w1" / "work" / "scratch").glob("*/*")] == []


async def test_nobody_can_connect_once_the_host_has_come(bench: Bench, tmp_path: Path) -> None:
    await bench.agent_with_host()
    await running_tool(bench, tmp_path)
    assert not (tmp_path / "w1" / "runner.sock").exists()


async def test_a_tool_does_not_inherit_what_leads_to_the_agent(bench: Bench) -> None:
    await bench.agent_with_host()
    await bench.submit(CommandTask(argv=("ls", "/proc/self/fd"), allowed=("any",)))
    (result,) = await bench.results()
    assert result.stdout.split() == ["0", "1", "2", "3"]  # the last is the folder that ls reads


async def test_a_cancel_reaches_the_tool(bench: Bench, tmp_path: Path) -> None:
    await bench.agent_with_host()
    pid = await running_tool(bench, tmp_path)
    await bench.dispatch.set_job_state("u1", JobState.CANCELLED)
    (result,) = await bench.results()
    assert result.status == "cancelled"
    assert await gone(pid)


async def test_a_runner_that_dies_costs_its_task_alone(bench: Bench, tmp_path: Path) -> None:
    await bench.agent_with_host()
    tool = psutil.Process(await running_tool(bench, tmp_path))
    runner = tool.parent()
    assert runner is not None
    runner.kill()
    (result,) = await bench.results()
    assert (result.status, result.reason) == ("failed", "RunnerLost")
    assert "by signal 9" in result.message
    assert await gone(tool.pid)
    await bench.submit(python("print('next')"), job="u2")
    assert [each.stdout for each in await bench.results("u2")] == ["next\n"]


async def test_a_worker_leaves_when_its_host_dies_and_no_tool_is_left(bench: Bench, tmp_path: Path) -> None:
    agent, host = await bench.agent_with_host()
    pid = await running_tool(bench, tmp_path)
    host.kill()
    assert await agent.wait() == 5
    assert await gone(pid)
    progress = await bench.until(lambda p: p.running == 0)
    assert progress.succeeded == 0


async def test_the_host_ends_with_all_its_tools_when_the_agent_dies(bench: Bench, tmp_path: Path) -> None:
    agent, host = await bench.agent_with_host()
    pid = await running_tool(bench, tmp_path)
    agent.kill()
    assert await host.wait() == 0
    assert await gone(pid)


async def test_a_task_finishes_though_both_containers_are_told_to_stop(bench: Bench, tmp_path: Path) -> None:
    agent, host = await bench.agent_with_host()
    await bench.submit(python(WAIT_FOR_FILE, str(tmp_path / "pid"), str(tmp_path / "go")))
    await wait_for_file(tmp_path / "pid")
    for process in (host, agent):
        process.send_signal(signal.SIGTERM)
    (tmp_path / "go").touch()
    (result,) = await bench.results()
    assert result.status == "succeeded"
    assert [await agent.wait(), await host.wait()] == [0, 0]


async def test_an_agent_without_a_host_takes_no_task_and_stops_when_told_to(bench: Bench, tmp_path: Path) -> None:
    agent = await bench.toolless_agent()
    await wait_until_there(tmp_path / "w1" / "runner.sock")
    await bench.submit(python("print()"))
    agent.terminate()
    assert await agent.wait() == 0
    assert (await bench.until(lambda _: True)).queued == 1
