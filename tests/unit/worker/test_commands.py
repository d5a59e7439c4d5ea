from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mahavishnu_operator.api.wire import STREAM_TAIL_BYTES, CommandTask
from mahavishnu_operator.worker.commands import judge, refuse, refuse_start, stopped, tail
from mahavishnu_operator.worker.supervising import DISK_RESERVE_BYTES, Ended, StoppedBy, disk_is_filling


def reason(*argv: str, allowed: tuple[str, ...]) -> str | None:
    done = refuse(CommandTask(argv=argv, allowed=allowed))
    return None if done is None else done.reason


@pytest.mark.parametrize(
    ("argv", "allowed", "refused"),
    [
        (("echo", "x"), ("echo",), None),
        (("rm", "x"), ("any",), None),
        (("/bin/rm",), ("any",), None),
        (("rm",), ("echo",), "CommandNotAllowed"),
        (("rm",), (), "CommandNotAllowed"),
        (("/bin/echo",), ("/bin/echo",), "CommandNotAllowed"),
        (("./echo",), ("echo",), "CommandNotAllowed"),
        ((), ("any",), "CommandEmpty"),
        (("",), ("any",), "CommandEmpty"),
    ],
)
def test_only_bare_names_of_the_list_run(argv: tuple[str, ...], allowed: tuple[str, ...], refused: str | None) -> None:
    assert reason(*argv, allowed=allowed) == refused


def test_a_refused_command_is_told_how_to_allow_it() -> None:
    done = refuse(CommandTask(argv=("rm",), allowed=("echo", "true")))
    assert done is not None
    assert "'rm'" in done.message
    assert "echo, true" in done.message
    assert "spec.allowedCommands" in done.message


def failing(number: int, filename: str = "prog") -> OSError:
    return OSError(number, os.strerror(number), filename)


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        (failing(errno.E2BIG), "refused", "ArgumentsTooLong"),
        (failing(errno.EACCES), "refused", "NotExecutable"),
        (failing(errno.ENOEXEC), "refused", "NotExecutable"),
        (failing(errno.ENOENT), "refused", "CommandNotFound"),
        (failing(errno.EAGAIN), "failed", "StartFailed"),
        (ValueError("embedded null byte"), "refused", "ArgumentInvalid"),
    ],
)
def test_a_start_that_fails_says_why(error: OSError | ValueError, status: str, expected: str, tmp_path: Path) -> None:
    done = refuse_start(error, what="prog", cwd=str(tmp_path))
    assert (done.status, done.reason) == (status, expected)


def test_a_folder_that_may_not_be_entered_is_not_blamed_on_the_program(tmp_path: Path) -> None:
    done = refuse_start(failing(errno.EACCES, str(tmp_path)), what="prog", cwd=str(tmp_path))
    assert done.reason == "SourceUnreadable"


def ended(exit_code: int = 0, stopped_by: StoppedBy = "") -> Ended:
    return Ended(exit_code, b"", b"", 0, 0, 1.0, stopped_by)


@pytest.mark.parametrize(
    ("end", "status", "expected"),
    [
        (ended(), "succeeded", "Completed"),
        (ended(3), "failed", "ExitCode"),
        (ended(-9), "failed", "Signalled"),
        (ended(0, "TimedOut"), "timed-out", "TimedOut"),
        (ended(-15, "Cancelled"), "cancelled", "Cancelled"),
        (ended(0, "OutputLimit"), "failed", "OutputLimit"),
        (ended(-9, "MemoryLimit"), "failed", "MemoryLimit"),
        (ended(-9, "DiskLimit"), "failed", "DiskLimit"),
    ],
)
def test_a_command_is_judged_by_what_ended_it_first(end: Ended, status: str, expected: str) -> None:
    assert judge(end, what="x", timeout_seconds=1.0)[:2] == (status, expected)


def test_nothing_is_called_stopped_that_ended_by_itself() -> None:
    with pytest.raises(ValueError, match="nothing stopped it"):
        stopped("", what="x", timeout_seconds=1.0)


def test_the_tail_of_a_stream_is_its_end_as_text() -> None:
    text = tail(b"a" * 100 + b"\xff" + b"b" * (STREAM_TAIL_BYTES - 1))
    assert text == "\N{REPLACEMENT CHARACTER}" + "b" * (STREAM_TAIL_BYTES - 1)


@pytest.mark.parametrize(
    ("free_at_start", "free_now", "filling"),
    [
        (100 * DISK_RESERVE_BYTES, 2 * DISK_RESERVE_BYTES, False),
        (100 * DISK_RESERVE_BYTES, DISK_RESERVE_BYTES - 1, True),
        (DISK_RESERVE_BYTES, DISK_RESERVE_BYTES - 1, False),  # short of space before the task came
        (DISK_RESERVE_BYTES, DISK_RESERVE_BYTES // 2 - 1, True),
        (0, 0, False),
    ],
)
def test_a_task_is_stopped_when_it_takes_the_last_of_a_disk(free_at_start: int, free_now: int, filling: bool) -> None:
    assert disk_is_filling(free_at_start=free_at_start, free_now=free_now) is filling
