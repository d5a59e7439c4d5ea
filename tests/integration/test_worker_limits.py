"""The runner against tools that run away, fill, flood or freeze."""

from __future__ import annotations

import resource
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from .runner_tools import Runner, gone, python, running_runner, wait_for_file

MIB = 1024 * 1024
# A process that is never the same for longer than a moment: each one forks and ends. Stops by itself after a while.
CHAIN = """
import os, sys, time
if os.fork() == 0:
    for number in range(20_000):
        if os.fork(): os._exit(0)
        {each}
        if number == 20: open(sys.argv[1], "w").write("x")
    os._exit(0)
while not os.path.exists(sys.argv[1]): time.sleep(0.01)
"""


@pytest.fixture
async def runner(tmp_path: Path) -> AsyncIterator[Runner]:
    async with running_runner(tmp_path) as running:
        yield running


@pytest.mark.parametrize("each", ["pass", "os.setsid()"], ids=["in-one-group", "each-in-its-own-session"])
async def test_a_chain_of_forks_is_caught(runner: Runner, tmp_path: Path, each: str) -> None:
    done = await runner.run(python(CHAIN.format(each=each), str(tmp_path / "mark")))
    assert done.status == "succeeded"
    assert psutil.Process(runner.process.pid).children(recursive=True) == []


async def test_a_stopped_command_ends_with_its_time(runner: Runner) -> None:
    done = await runner.run(python("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"), timeout=0.3)
    assert (done.status, done.exit_code) == ("timed-out", -signal.SIGKILL)


async def test_a_file_over_the_limit_cannot_be_written_and_is_gone_after(runner: Runner, tmp_path: Path) -> None:
    resource.prlimit(runner.process.pid, resource.RLIMIT_FSIZE, (MIB, MIB))
    code = "open('full', 'wb').write(bytes(2 * 1024 * 1024))"
    done = await runner.run(python(code))
    assert (done.status, done.exit_code) == ("failed", 1)
    assert "File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


async def test_output_over_the_limit_counts_although_the_command_has_ended(runner: Runner) -> None:
    code = "import os; os.write(1, b'x' * 5000)"
    done = await runner.run(python(code, output_limit=4999))
    assert (done.status, done.reason, done.stdout_bytes) == ("failed", "OutputLimit", 5000)


async def test_output_up_to_the_limit_is_fine(runner: Runner) -> None:
    done = await runner.run(python("import os; os.write(1, b'x' * 5000)", output_limit=5000))
    assert (done.status, done.stdout_bytes) == ("succeeded", 5000)


async def test_output_in_small_pieces_is_joined(runner: Runner) -> None:
    await runner.run(python("for n in range(2000): print(n, flush=True)"))
    assert b"".join(bytes(o.data) for o in runner.output) == b"".join(b"%d\n" % n for n in range(2000))
    assert len(runner.output) < 200


async def test_a_command_gains_no_rights_dumps_no_core_and_reads_nothing(runner: Runner) -> None:
    code = """
import os, resource
status = open("/proc/self/status").read()
print("NoNewPrivs:\\t1" in status, resource.getrlimit(resource.RLIMIT_CORE), os.read(0, 1), oct(os.umask(0)))
"""
    assert (await runner.run(python(code))).stdout == "True (0, 0) b'' 0o77\n"


async def test_a_command_is_a_session_of_its_own(runner: Runner) -> None:
    done = await runner.run(python("import os; print(os.getsid(0) == os.getpid())"))
    assert done.stdout == "True\n"


async def test_the_scratch_folder_goes_with_the_agent(runner: Runner, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    scratch = await runner.start(
        python("import sys, time; open(sys.argv[1], 'w').write('x'); time.sleep(600)", str(mark))
    )
    await wait_for_file(mark)
    assert scratch.exists()
    assert runner.process.stdin is not None
    runner.process.stdin.close()
    assert await gone(runner.process.pid)
    assert not scratch.exists()


async def test_a_cancel_for_the_task_before_does_not_touch_the_next(runner: Runner) -> None:
    await runner.run(python("pass"))
    await runner.cancel()
    assert (await runner.run(python("print('ran')"))).stdout == "ran\n"


async def test_a_cancel_right_after_the_start_is_heard(runner: Runner) -> None:
    await runner.start(python("import time; time.sleep(600)"))
    await runner.cancel()
    assert (await runner.done()).status == "cancelled"
