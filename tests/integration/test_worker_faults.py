"""Agents when something is wrong: with the dispatcher, with a runner, with the moment they are told to stop."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
from aiohttp import web

from mahavishnu_operator.api.wire import CommandTask, Grant, LeaseResponse, NoopTask
from mahavishnu_operator.store.records import JobState

from .runner_tools import gone, python, wait_for_file
from .scripted_dispatcher import Answer, ScriptedDispatcher, answered, refusal, scripted_dispatcher
from .worker_tools import Bench, running_bench, start_agent

SLEEPER = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with running_bench(tmp_path) as running:
        yield running


async def exit_code(agent: asyncio.subprocess.Process) -> int:
    async with asyncio.timeout(30):
        return await agent.wait()


async def start_sleeper(bench: Bench, mark: Path) -> int:
    await bench.submit(python(SLEEPER, str(mark)))
    return int(await wait_for_file(mark))


# --- told to stop ---------------------------------------------------------------------------------


async def test_a_second_sigterm_ends_the_grace(bench: Bench, tmp_path: Path) -> None:
    agent = await bench.agent(grace=600.0)
    command = await start_sleeper(bench, tmp_path / "pid")
    agent.send_signal(signal.SIGTERM)
    await has_heard(agent)
    agent.send_signal(signal.SIGTERM)
    assert await exit_code(agent) == 0
    assert await gone(command)


async def test_a_worker_that_waits_for_its_dispatcher_stops_when_told(tmp_path: Path) -> None:
    agent = await start_agent("http://127.0.0.1:1", "w1", token="t", folder=tmp_path / "w1")
    await is_ready(agent)
    agent.send_signal(signal.SIGTERM)
    assert await exit_code(agent) == 0


async def test_a_worker_whose_dispatcher_is_gone_stops_soon_after_its_grace(bench: Bench, tmp_path: Path) -> None:
    agent = await bench.agent(grace=0.2)
    command = await start_sleeper(bench, tmp_path / "pid")
    await bench.stop()
    begun = time.monotonic()
    agent.send_signal(signal.SIGTERM)
    assert await exit_code(agent) == 0
    assert time.monotonic() - begun < 15
    assert await gone(command)
    await bench.start()


def has_sigterm(agent: asyncio.subprocess.Process, mask: str) -> bool:
    """Whether SIGTERM is in this mask of the process: SigCgt (handled), ShdPnd (on its way)."""
    status = Path(f"/proc/{agent.pid}/status").read_text()
    value = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith(mask))
    return bool(value >> (signal.SIGTERM - 1) & 1)


async def is_ready(agent: asyncio.subprocess.Process) -> None:
    """Until it handles SIGTERM itself."""
    await until(lambda: has_sigterm(agent, "SigCgt"))


async def has_heard(agent: asyncio.subprocess.Process) -> None:
    """Until no SIGTERM is on its way: a second one would be the same one."""
    await until(lambda: not has_sigterm(agent, "ShdPnd"))


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that the kernel knows and tells nobody."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


# --- runners --------------------------------------------------------------------------------------


async def test_a_runner_killed_between_tasks_costs_no_task_an_attempt(bench: Bench) -> None:
    agent = await bench.agent()
    await bench.submit(python("pass"))
    await bench.results()
    (runner,) = psutil.Process(agent.pid).children()
    runner.kill()
    assert await gone(runner.pid)
    await bench.submit(python("print('ran')"), job="u2")
    (result,) = await bench.results("u2")
    assert (result.status, result.attempt, result.stdout) == ("succeeded", 1, "ran\n")


@pytest.mark.long
async def test_a_stopped_runner_does_not_keep_a_cancelled_task(bench: Bench, tmp_path: Path) -> None:
    agent = await bench.agent()
    command = await start_sleeper(bench, tmp_path / "pid")
    (runner,) = psutil.Process(agent.pid).children()
    runner.suspend()
    await bench.dispatch.set_job_state("u1", JobState.CANCELLED)
    (result,) = await bench.results()
    assert result.status == "cancelled"
    assert await gone(command, runner.pid)


async def test_an_agent_stopped_past_its_leases_drops_what_it_lost(tmp_path: Path) -> None:
    async with running_bench(tmp_path, lease_seconds=1.0) as bench:
        agent = await bench.agent()
        command = await start_sleeper(bench, tmp_path / "pid")
        agent.send_signal(signal.SIGSTOP)
        await bench.until(lambda progress: progress.running == 0)
        agent.send_signal(signal.SIGCONT)
        assert await gone(command)


async def test_what_a_killed_agent_left_on_disk_goes_when_the_next_one_starts(bench: Bench, tmp_path: Path) -> None:
    agent = await bench.agent()
    await start_sleeper(bench, tmp_path / "pid")
    (runner,) = psutil.Process(agent.pid).children()
    below = runner.children(recursive=True)
    for process in (psutil.Process(agent.pid), runner, *below):
        process.kill()
    assert await gone(agent.pid, runner.pid, *(process.pid for process in below))
    await agent.wait()
    (left,) = (tmp_path / "w1" / "scratch").iterdir()
    second = await bench.agent()
    await bench.submit(NoopTask(), job="u2")
    await bench.results("u2")
    assert not left.exists()
    assert [folder.name for folder in (tmp_path / "w1" / "scratch").iterdir()] == [str(second.pid)]


async def test_an_agent_that_left_leaves_no_scratch_folder(bench: Bench, tmp_path: Path) -> None:
    agent = await bench.agent()
    await bench.submit(python("open('file', 'w')"))
    await bench.results()
    agent.send_signal(signal.SIGTERM)
    assert await exit_code(agent) == 0
    assert list((tmp_path / "w1" / "scratch").iterdir()) == []


# --- dispatchers ----------------------------------------------------------------------------------


async def run_against(dispatcher: ScriptedDispatcher, folder: Path) -> int:
    """The exit code of an agent that works for this dispatcher until it is drained."""
    agent = await start_agent(dispatcher.url, "w1", token="t", folder=folder)
    try:
        return await exit_code(agent)
    finally:
        if agent.returncode is None:
            agent.kill()


async def test_another_protocol_ends_the_agent_with_its_own_code(tmp_path: Path) -> None:
    answers: dict[str, Answer] = {"/v1/register": lambda _: refusal(409, "ProtocolUnsupported")}
    async with scripted_dispatcher(answers=answers) as dispatcher:
        assert await run_against(dispatcher, tmp_path) == 3


@pytest.mark.parametrize(
    "answer",
    [
        lambda asked: web.Response(body=b"<html>a proxy's page</html>") if asked == 1 else None,
        lambda asked: web.Response(status=502, body=b"<html>") if asked == 1 else None,
        lambda asked: refusal(503, "StoreFull") if asked == 1 else None,
        lambda asked: refusal(401, "SessionUnknown") if asked == 1 else None,
    ],
    ids=["garbage", "bad-gateway", "store-full", "session-unknown"],
)
@pytest.mark.parametrize("path", ["/v1/lease", "/v1/results"])
async def test_a_call_that_got_no_real_answer_is_made_again(tmp_path: Path, path: str, answer: Answer) -> None:
    async with scripted_dispatcher(answers={path: answer}) as dispatcher:
        assert await run_against(dispatcher, tmp_path) == 0
    assert [result.status for result in dispatcher.results] == ["succeeded"]
    assert dispatcher.asked["/v1/leave"] == 1


async def test_one_refused_result_does_not_hold_up_the_others(tmp_path: Path) -> None:
    def refuse_thrice(asked: int) -> web.Response | None:  # all together, then the first alone, then the second
        return refusal(413, "TooLarge") if asked in (1, 3) else None

    async with scripted_dispatcher(tasks=3, answers={"/v1/results": refuse_thrice}) as dispatcher:
        assert await run_against(dispatcher, tmp_path) == 0
    reasons = {result.task: result.reason for result in dispatcher.results}
    assert reasons == {"j/t0": "Completed", "j/t1": "ResultRefused", "j/t2": "Completed"}


async def test_a_folder_that_cannot_be_used_ends_the_agent_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mahavishnu_operator.worker"),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    config = {"server": "http://127.0.0.1:1", "token": "s3cret", "pool": "a/b", "worker": "w"}
    line = json.dumps(config | {"workDir": str(tmp_path / "file")}).encode()
    _, stderr = await process.communicate(line + b"\n")
    assert process.returncode == 2
    assert f"{tmp_path}/file" in stderr.decode()
    assert "s3cret" not in stderr.decode()


async def test_a_lease_counts_from_when_it_was_granted_and_not_from_the_request(tmp_path: Path) -> None:
    grant = Grant("j/t0", 1, 1, 0.001, 60.0, CommandTask(("true",), allowed=("true",)))
    answers: dict[str, Answer] = {
        "/v1/lease": lambda asked: answered(LeaseResponse((grant,), waited_seconds=600.0)) if asked == 1 else None,
        "/v1/renew": lambda _: refusal(503, "StoreFull"),
    }
    async with scripted_dispatcher(tasks=0, answers=answers) as dispatcher:
        assert await run_against(dispatcher, tmp_path) == 0
    assert [result.status for result in dispatcher.results] == ["succeeded"]


async def test_what_came_late_is_renewed_at_once(tmp_path: Path) -> None:
    grant = Grant("j/t0", 1, 1, 6.0, 60.0, CommandTask(("true",), allowed=("true",)))
    late = LeaseResponse((grant,), waited_seconds=-600.0)  # as if it had been asked for ten minutes before
    renewals: list[float] = []

    def renew(_: int) -> None:
        renewals.append(dispatcher.renewal.wait_seconds)

    answers: dict[str, Answer] = {
        "/v1/lease": lambda asked: answered(late) if asked == 1 else None,
        "/v1/renew": renew,
    }
    async with scripted_dispatcher(tasks=0, answers=answers) as dispatcher:
        assert await run_against(dispatcher, tmp_path) == 0
    assert renewals[0] == 0.0
