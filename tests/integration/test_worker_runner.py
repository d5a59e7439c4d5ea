"""The runner with real processes: what they do to it, and that nothing of them is left."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mahavishnu_operator.api.wire import CommandTask

from .runner_tools import Runner, gone, python, running_runner, wait_for_file

MIB = 1024 * 1024
# Forks twice into a session of its own, so that the survivor belongs to nobody, says its pid and hangs.
ESCAPE = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1], "w").write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
"""
WAIT_FOR_PID = "\nwhile not os.path.exists(sys.argv[1]) or not os.path.getsize(sys.argv[1]): time.sleep(0.01)\n"


@dataclass
class Ground:
    runner: Runner
    folder: Path


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    async with running_runner(tmp_path) as runner:
        yield Ground(runner, tmp_path)


async def test_the_exit_code_is_the_commands_own(ground: Ground) -> None:
    done = await ground.runner.run(python("raise SystemExit(7)"))
    assert (done.status, done.reason, done.exit_code) == ("failed", "ExitCode", 7)


async def test_output_comes_back_and_is_streamed(ground: Ground) -> None:
    done = await ground.runner.run(python("import sys; print('out'); print('err', file=sys.stderr)"))
    assert (done.status, done.stdout, done.stderr) == ("succeeded", "out\n", "err\n")
    assert {(o.stream, o.offset, o.data) for o in ground.runner.output} == {
        ("stdout", 0, b"out\n"),
        ("stderr", 0, b"err\n"),
    }


async def test_a_segmentation_fault_is_named(ground: Ground) -> None:
    done = await ground.runner.run(python("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"))
    assert (done.reason, done.exit_code, done.message) == ("Signalled", -11, "ended by signal 11 (SIGSEGV)")


async def test_a_command_that_prints_without_end_is_stopped_in_bounded_memory(ground: Ground) -> None:
    endless = "import os\nwhile True: os.write(1, b'x' * 65536)"
    done = await ground.runner.run(python(endless, output_limit=MIB))
    assert (done.status, done.reason) == ("failed", "OutputLimit")
    status = Path(f"/proc/{ground.runner.process.pid}/status").read_text()
    peak_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak_kib < 120 * 1024


async def test_a_child_that_fled_into_its_own_session_is_gone_with_its_task(ground: Ground) -> None:
    mark = ground.folder / "pid"
    done = await ground.runner.run(python(ESCAPE + WAIT_FOR_PID, str(mark)))
    assert done.status == "succeeded"
    assert await gone(int(mark.read_text()))


async def test_a_child_that_holds_the_pipes_does_not_hold_the_task(ground: Ground) -> None:
    code = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
    assert (await ground.runner.run(python(code))).status == "succeeded"


async def test_a_command_that_ignores_sigterm_is_killed_on_timeout(ground: Ground) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    done = await ground.runner.run(python(code), timeout=0.5)
    assert (done.status, done.reason, done.exit_code) == ("timed-out", "TimedOut", -signal.SIGKILL)


async def test_a_command_gets_the_usual_signals(ground: Ground) -> None:
    done = await ground.runner.run(CommandTask(argv=("sh", "-c", "kill -TERM $$"), allowed=("sh",)))
    assert done.exit_code == -signal.SIGTERM


async def test_cancel_ends_a_running_command(ground: Ground) -> None:
    mark = ground.folder / "pid"
    code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
    await ground.runner.start(python(code, str(mark)))
    pid = int(await wait_for_file(mark))
    await ground.runner.cancel()
    assert (await ground.runner.done()).status == "cancelled"
    assert await gone(pid)


async def test_a_command_that_eats_memory_is_stopped(ground: Ground) -> None:
    code = "import time; held = bytearray(200 * 1024 * 1024); time.sleep(600)"
    done = await ground.runner.run(python(code, memory_limit=100 * MIB))
    assert (done.status, done.reason) == ("failed", "MemoryLimit")


async def test_the_scratch_folder_is_removed_with_what_is_locked_in_it(ground: Ground) -> None:
    code = "import os; os.makedirs('a/b'); open('a/b/c', 'w'); os.chmod('a/b', 0); print(os.getcwd(), end='')"
    done = await ground.runner.run(python(code))
    assert done.stdout.startswith(str(ground.folder))
    assert not Path(done.stdout).exists()


async def test_a_command_sees_no_variable_of_the_agent(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAHAVISHNU_TOKEN", "s3cret")
    async with running_runner(ground.folder / "other") as runner:
        done = await runner.run(python("import os; print(sorted(os.environ))"))
    assert "TOKEN" not in done.stdout
    assert "HOME" in done.stdout


async def test_an_argument_that_looks_like_shell_stays_an_argument(ground: Ground) -> None:
    done = await ground.runner.run(CommandTask(argv=("echo", "$(id); rm -rf x"), allowed=("echo",)))
    assert done.stdout == "$(id); rm -rf x\n"


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (CommandTask(argv=("rm", "-rf"), allowed=("echo",)), "CommandNotAllowed"),
        (CommandTask(argv=("/bin/echo",), allowed=("echo",)), "CommandNotAllowed"),
        (CommandTask(argv=(), allowed=("any",)), "CommandEmpty"),
        (CommandTask(argv=("no-such-program",), allowed=("any",)), "CommandNotFound"),
        (CommandTask(argv=("/etc/passwd",), allowed=("any",)), "NotExecutable"),
        (CommandTask(argv=("true",), cwd="/no/such/folder", allowed=("any",)), "SourceUnreadable"),
        (CommandTask(argv=("echo", "x" * 200_000), allowed=("any",)), "ArgumentsTooLong"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_cannot_be_run_is_refused_in_words(ground: Ground, spec: CommandTask, reason: str) -> None:
    done = await ground.runner.run(spec)
    assert (done.status, done.reason) == ("refused", reason)
    assert done.message


async def test_a_runner_goes_on_after_a_bad_task(ground: Ground) -> None:
    await ground.runner.run(python("import os; os.kill(os.getpid(), 9)"))
    assert (await ground.runner.run(python("print('still here')"))).stdout == "still here\n"


async def test_when_the_agents_pipe_closes_the_command_is_gone_too(ground: Ground) -> None:
    mark = ground.folder / "pid"
    code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
    await ground.runner.start(python(code, str(mark)))
    pid = int(await wait_for_file(mark))
    assert ground.runner.process.stdin is not None
    ground.runner.process.stdin.close()
    assert await gone(pid, ground.runner.process.pid)
    assert not os.path.exists(f"/proc/{pid}")
