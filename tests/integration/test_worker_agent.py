"""Agents as processes against the real dispatcher on loopback."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from mahavishnu_operator.api.wire import CommandTask, NoopTask
from mahavishnu_operator.store.records import JobState

from .runner_tools import gone, python, wait_for_file
from .worker_tools import POOL, Bench, running_bench

SLEEPER = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
# Waits for a file to appear, then appends a line to another: how often a task ran shows in the latter.
WAIT_THEN_MARK = """
import os, sys, time
open(sys.argv[1], "w").write(str(os.getpid()))
while not os.path.exists(sys.argv[2]): time.sleep(0.01)
open(sys.argv[3], "a").write("ran\\n")
"""


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with running_bench(tmp_path) as running:
        yield running


async def test_a_task_runs_and_its_result_comes_back(bench: Bench) -> None:
    await bench.agent()
    await bench.submit(python("print('hello')"), NoopTask())
    command, noop = await bench.results()
    assert (command.status, command.stdout, command.exit_code) == ("succeeded", "hello\n", 0)
    assert (noop.status, noop.exit_code) == ("succeeded", None)


async def test_two_workers_share_many_tasks_and_each_counts_once(bench: Bench) -> None:
    await bench.agent("w1")
    await bench.agent("w2")
    await bench.submit(*[NoopTask()] * 500)
    progress = await bench.until(lambda p: p.done)
    assert (progress.total, progress.succeeded, progress.retried) == (500, 500, 0)


async def test_what_was_leased_ahead_and_stands_behind_a_long_task_is_done_by_another_worker(
    bench: Bench, tmp_path: Path
) -> None:
    quick, mark = CommandTask(("true",), allowed=("true",)), str(tmp_path / "pid")
    await bench.agent("w1")
    await bench.submit(*[quick] * 20, python(SLEEPER, mark), *[quick] * 10)
    await wait_for_file(tmp_path / "pid")
    await bench.agent("w2")
    progress = await bench.until(lambda p: p.succeeded == 30)
    assert (progress.running, progress.queued, progress.failed, progress.retried) == (1, 0, 0, 0)


async def test_a_cancelled_job_gives_back_at_once_what_was_leased_ahead(bench: Bench, tmp_path: Path) -> None:
    quick = CommandTask(("true",), allowed=("true",))
    await bench.agent("w1")
    await bench.submit(*[quick] * 20, *[python(SLEEPER, str(tmp_path / "pid"))] * 11)
    await wait_for_file(tmp_path / "pid")
    await bench.dispatch.set_job_state("u1", JobState.CANCELLED)
    progress = await bench.until(lambda p: p.done)
    assert (progress.succeeded, progress.cancelled) == (20, 11)


async def test_a_worker_that_leaves_hands_back_what_it_has_not_begun_for_free(bench: Bench, tmp_path: Path) -> None:
    quick = CommandTask(("true",), allowed=("true",))
    agent = await bench.agent("w1", grace=0.0)
    await bench.submit(*[quick] * 20, *[python(SLEEPER, str(tmp_path / "pid"))] * 11)
    await wait_for_file(tmp_path / "pid")
    agent.send_signal(signal.SIGTERM)
    assert await agent.wait() == 0
    stored = await bench.dispatch.store.tasks("u1")
    assert [task.lost for task in stored if task.lost] == [1]


async def test_a_cancelled_job_stops_its_running_command(bench: Bench, tmp_path: Path) -> None:
    await bench.agent()
    await bench.submit(python(SLEEPER, str(tmp_path / "pid")))
    pid = int(await wait_for_file(tmp_path / "pid"))
    await bench.dispatch.set_job_state("u1", JobState.CANCELLED)
    (result,) = await bench.results()
    assert result.status == "cancelled"
    assert await gone(pid)


async def test_sigterm_lets_a_short_task_finish(bench: Bench, tmp_path: Path) -> None:
    agent = await bench.agent()
    pid, go, mark = (tmp_path / name for name in ("pid", "go", "mark"))
    await bench.submit(python(WAIT_THEN_MARK, str(pid), str(go), str(mark)))
    await wait_for_file(pid)
    agent.send_signal(signal.SIGTERM)
    go.touch()
    (result,) = await bench.results()
    assert result.status == "succeeded"
    assert await agent.wait() == 0


async def test_sigterm_hands_back_what_the_grace_does_not_suffice_for(bench: Bench, tmp_path: Path) -> None:
    agent = await bench.agent(grace=0.2)
    await bench.submit(python(SLEEPER, str(tmp_path / "pid")))
    pid = int(await wait_for_file(tmp_path / "pid"))
    agent.send_signal(signal.SIGTERM)
    assert await agent.wait() == 0
    assert await gone(pid)
    progress = await bench.until(lambda p: p.queued == 1)
    assert progress.running == 0


STOPPED_AGAIN_AT_THE_END = (  # beside a second thread, as one that waits for a child is: it takes signals too
    "import atexit, os, signal, sys, threading, time; from mahavishnu_operator.worker.__main__ import main; "
    "threading.Thread(target=time.sleep, args=(600,), daemon=True).start(); "
    "atexit.register(os.kill, os.getpid(), signal.SIGTERM); sys.exit(main())"
)


async def test_a_worker_that_is_told_to_stop_again_when_it_has_left_ends_in_peace(bench: Bench) -> None:
    agent = await bench.agent(program=("-c", STOPPED_AGAIN_AT_THE_END))
    await bench.submit(NoopTask())
    await bench.results()
    agent.terminate()
    assert await asyncio.wait_for(agent.wait(), 20) == 0


async def test_a_drained_worker_leaves_when_it_holds_nothing(bench: Bench) -> None:
    agent = await bench.agent()
    await bench.submit(NoopTask())
    await bench.until(lambda p: p.done)
    await bench.dispatch.begin_drain(pool=POOL, worker="w1")
    async with asyncio.timeout(20):
        assert await agent.wait() == 0


async def test_a_result_finished_while_the_dispatcher_was_away_is_not_lost(bench: Bench, tmp_path: Path) -> None:
    await bench.agent()
    pid, go, mark = (tmp_path / name for name in ("pid", "go", "mark"))
    await bench.submit(python(WAIT_THEN_MARK, str(pid), str(go), str(mark)))
    command = int(await wait_for_file(pid))
    await bench.stop()
    go.touch()
    assert await gone(command)
    await bench.start()
    (result,) = await bench.results()
    assert (result.status, result.attempt) == ("succeeded", 1)
    assert mark.read_text() == "ran\n"


async def test_a_task_goes_on_through_a_restart_of_the_dispatcher(bench: Bench, tmp_path: Path) -> None:
    await bench.agent()
    pid, go, mark = (tmp_path / name for name in ("pid", "go", "mark"))
    await bench.submit(python(WAIT_THEN_MARK, str(pid), str(go), str(mark)))
    await wait_for_file(pid)
    await bench.stop()
    await bench.start()
    await bench.until(lambda p: p.running == 1)
    go.touch()
    (result,) = await bench.results()
    assert (result.status, result.attempt) == ("succeeded", 1)
    assert mark.read_text() == "ran\n"


async def test_a_killed_agent_leaves_no_process_behind(bench: Bench, tmp_path: Path) -> None:
    agent = await bench.agent()
    await bench.submit(python(SLEEPER, str(tmp_path / "pid")))
    command = int(await wait_for_file(tmp_path / "pid"))
    below = [process.pid for process in psutil.Process(agent.pid).children(recursive=True)]
    agent.kill()
    assert await gone(command, *below)


async def test_when_the_parents_pipe_closes_the_agent_and_its_task_are_gone(bench: Bench, tmp_path: Path) -> None:
    agent = await bench.agent()
    await bench.submit(python(SLEEPER, str(tmp_path / "pid")))
    command = int(await wait_for_file(tmp_path / "pid"))
    assert agent.stdin is not None
    agent.stdin.close()
    assert await gone(command, agent.pid)


async def test_a_killed_runner_fails_its_task_and_leaves_nothing(bench: Bench, tmp_path: Path) -> None:
    agent = await bench.agent()
    await bench.submit(python(SLEEPER, str(tmp_path / "pid")))
    command = int(await wait_for_file(tmp_path / "pid"))
    (runner,) = psutil.Process(agent.pid).children()
    runner.kill()
    (result,) = await bench.results()
    assert (result.status, result.reason) == ("failed", "RunnerLost")
    assert await gone(command)
    await bench.submit(NoopTask(), python("print('again')"), job="u2")
    assert {r.status for r in await bench.results("u2")} == {"succeeded"}


async def test_a_wrong_token_ends_the_agent_with_its_own_code(bench: Bench) -> None:
    agent = await bench.agent(token="x" * 43)
    async with asyncio.timeout(20):
        assert await agent.wait() == 4


async def test_the_token_is_in_no_argument_and_no_environment(bench: Bench) -> None:
    token = await bench.dispatch.issue_token(pool=POOL, worker="w9")
    agent = await bench.agent("w9", token=token)
    await bench.submit(python("import os, sys; print(sorted(os.environ.items()), sys.argv)"))
    (result,) = await bench.results()
    assert token not in result.stdout
    for part in ("cmdline", "environ"):
        assert token.encode() not in Path(f"/proc/{agent.pid}/{part}").read_bytes()


async def test_output_of_a_running_task_can_be_read_before_it_ends(bench: Bench, tmp_path: Path) -> None:
    await bench.agent()
    code = "import sys, time; print('begun', flush=True); open(sys.argv[1], 'w').write('x'); time.sleep(600)"
    await bench.submit(python(code, str(tmp_path / "mark")))
    await wait_for_file(tmp_path / "mark")
    key = (await bench.dispatch.store.tasks("u1"))[0].key
    async with asyncio.timeout(20):
        while await bench.dispatch.store.output(key) != b"begun\n":  # noqa: ASYNC110 (nobody is told of new output)
            await asyncio.sleep(0.05)


async def test_a_shell_like_argument_reaches_the_command_as_it_is(bench: Bench) -> None:
    await bench.agent()
    await bench.submit(CommandTask(argv=("echo", "a;b", "$HOME"), allowed=("echo",)))
    (result,) = await bench.results()
    assert result.stdout == "a;b $HOME\n"
    assert os.environ.get("HOME", "x") not in result.stdout


async def test_a_person_can_start_a_worker_by_command(bench: Bench, tmp_path: Path) -> None:
    await bench.agent_by_command(tmp_path / "here")
    await bench.submit(python("print(6 * 7)"))
    assert [result.stdout for result in await bench.results()] == ["42\n"]


async def test_an_idle_worker_waits_longer_than_a_lease_and_what_comes_then_is_good(tmp_path: Path) -> None:
    async with running_bench(tmp_path, lease_seconds=0.6) as bench:
        await bench.agent()
        await bench.submit(NoopTask(), job="u0")
        await bench.results("u0")
        await asyncio.sleep(1.2)  # twice as long as a lease
        [worker] = bench.dispatch.core.workers.of_pool(POOL)
        assert bench.dispatch.core.clock() - worker.last_seen > 0.6
        await bench.submit(python("print('hello')"))
        [result] = await bench.results()
    assert result.status == "succeeded"
