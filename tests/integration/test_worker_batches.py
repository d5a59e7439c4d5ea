"""Several short commands on their way to one runner: what it begins, forgets, and keeps apart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mahavishnu_operator.api.wire import CommandTask
from mahavishnu_operator.worker.messages import Done, Withdrawn

from .runner_tools import Runner, python, running_runner, wait_for_file
from .worker_tools import Bench, running_bench

TRUE = CommandTask(("true",), allowed=("true",))
SLEEPER = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
LOOK = "import os, stat; print(os.listdir(), oct(stat.S_IMODE(os.stat('.').st_mode)), end='')"


@pytest.fixture
async def runner(tmp_path: Path) -> AsyncIterator[Runner]:
    async with running_runner(tmp_path) as running:
        yield running


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with running_bench(tmp_path) as running:
        yield running


async def test_commands_are_answered_in_their_order(runner: Runner) -> None:
    await runner.start_all(*[python(f"raise SystemExit({number})") for number in (3, 1, 2)])
    assert [(await runner.done()).exit_code for _ in range(3)] == [3, 1, 2]


async def test_what_stands_behind_a_running_command_can_be_taken_back(runner: Runner, tmp_path: Path) -> None:
    await runner.start_all(python(SLEEPER, str(tmp_path / "pid")), TRUE, TRUE)
    await wait_for_file(tmp_path / "pid")
    await runner.withdraw()
    assert await runner.reply() == Withdrawn(2)
    await runner.cancel(1)
    assert (await runner.done()).status == "cancelled"


async def test_a_command_that_is_cancelled_before_its_turn_is_not_begun(runner: Runner, tmp_path: Path) -> None:
    await runner.start_all(
        python(SLEEPER, str(tmp_path / "pid")), python("open(sys.argv[1], 'w')", str(tmp_path / "begun")), TRUE
    )
    await wait_for_file(tmp_path / "pid")
    await runner.cancel(2)
    await runner.cancel(1)
    assert [(await runner.done()).status for _ in range(3)] == ["cancelled", "cancelled", "succeeded"]
    assert not (tmp_path / "begun").exists()


async def test_what_comes_to_its_turn_when_its_lease_may_be_over_is_not_begun(runner: Runner) -> None:
    await runner.start(python("import time; time.sleep(1)"))
    await runner.start_all(TRUE, TRUE, good=0.1)
    assert isinstance(await runner.reply(), Done)
    assert await runner.reply() == Withdrawn(2)


@pytest.mark.parametrize(
    "touch", ["open('left', 'w')", "import os; os.chmod('.', 0o755)", "import os; os.rmdir(os.getcwd())", "pass"]
)
async def test_a_command_finds_nothing_of_the_one_before_it(runner: Runner, touch: str) -> None:
    scratch = await runner.start_all(python(touch), python(LOOK), TRUE)
    assert [(await runner.done()).stdout for _ in range(3)] == ["", "[] 0o700", ""]
    assert not scratch.exists()


async def test_a_folder_that_was_kept_goes_when_the_next_is_taken_back(runner: Runner, tmp_path: Path) -> None:
    scratch = await runner.start_all(TRUE, python(SLEEPER, str(tmp_path / "pid")), TRUE)
    await wait_for_file(tmp_path / "pid")
    await runner.withdraw()
    await runner.cancel(2)
    assert [type(await runner.reply()) for _ in range(3)] == [Done, Withdrawn, Done]
    assert not scratch.exists()


async def test_a_runner_that_dies_costs_the_command_that_had_begun_and_no_other(bench: Bench) -> None:
    await bench.agent("w1")
    await bench.submit(
        *[TRUE] * 30, python("import os; os.kill(os.getppid(), 9); os.kill(os.getpid(), 9)"), *[TRUE] * 30
    )
    results = await bench.results()
    assert {(result.task, result.reason) for result in results if result.status != "succeeded"} == {
        ("u1/t30", "RunnerLost")
    }
    progress = bench.dispatch.progress("u1")
    assert progress is not None
    assert (progress.succeeded, progress.failed, progress.retried) == (60, 1, 0)


async def test_commands_that_were_sent_ahead_run_after_one_that_fails(bench: Bench) -> None:
    await bench.agent("w1")
    await bench.submit(*[TRUE] * 20, CommandTask(("no-such-program",), allowed=("any",)), *[TRUE] * 20)
    results = await bench.results()
    assert [result.reason for result in results if result.status != "succeeded"] == ["CommandNotFound"]
    assert len(results) == 41
