"""Executor of command tasks: argv without a shell, from an allow-list, in a folder of its own."""

from __future__ import annotations

import asyncio
import errno
import signal
from pathlib import Path

from mahavishnu_operator.api.wire import STREAM_TAIL_BYTES, CommandTask, ResultStatus

from .confining import Confinement
from .messages import Done
from .supervising import Ended, Limits, OnOutput, StoppedBy, supervise
from .surroundings import find_program, tool_environment

ANY = "any"


async def run_command(
    spec: CommandTask,
    *,
    timeout_seconds: float,
    scratch: Path,
    cancel: asyncio.Future[None],
    on_output: OnOutput,
    confinement: Confinement | None = None,
) -> Done:
    """Run it and say how it ended."""
    refusal = refuse(spec)
    if refusal is not None:
        return refusal
    program = spec.argv[0] if "/" in spec.argv[0] else find_program(spec.argv[0])
    if program is None:
        return Done("refused", "CommandNotFound", f"there is no program {spec.argv[0]!r} on the worker's PATH")
    try:
        ended = await supervise(
            (program, *spec.argv[1:]),
            cwd=spec.cwd or str(scratch),
            environment=tool_environment(scratch),
            limits=Limits(timeout_seconds, spec.output_limit_bytes, spec.memory_limit_bytes),
            cancel=cancel,
            on_output=on_output,
            confinement=confinement,
            readable=(spec.cwd,) if spec.cwd else (),
        )
    except (OSError, ValueError) as error:
        return refuse_start(error, what=spec.argv[0], cwd=spec.cwd)
    status, reason, message = judge(ended, what=repr(spec.argv[0]), timeout_seconds=timeout_seconds)
    return done_of(ended, status=status, reason=reason, message=message)


def refuse(spec: CommandTask) -> Done | None:
    """Why this command is not run at all, if so."""
    if not spec.argv or not spec.argv[0]:
        return Done("refused", "CommandEmpty", "the task has no command; give argv as a list with the program first")
    name = spec.argv[0]
    if ANY in spec.allowed or ("/" not in name and name in spec.allowed):
        return None
    known = ", ".join(sorted(spec.allowed)) or "nothing"
    return Done(
        "refused",
        "CommandNotAllowed",
        f"{name!r} is not allowed in this pool (allowed: {known}); add it to the pool's spec.allowedCommands",
    )


def refuse_start(error: OSError | ValueError, *, what: str, cwd: str) -> Done:
    """A program that could not be started, in words."""
    if not isinstance(error, OSError):
        return Done("refused", "ArgumentInvalid", f"an argument of {what!r} cannot be passed on: {error}")
    if cwd and (not Path(cwd).is_dir() or error.filename == cwd):
        return Done("refused", "SourceUnreadable", f"the folder {cwd} is not there or the worker may not enter it")
    match error.errno:
        case errno.E2BIG:
            return Done("refused", "ArgumentsTooLong", f"the arguments of {what!r} are longer than the system takes")
        case errno.EACCES | errno.ENOEXEC:
            return Done("refused", "NotExecutable", f"{what!r} cannot be executed: {error.strerror}")
        case errno.ENOENT:
            return Done("refused", "CommandNotFound", f"there is no program {what!r}, or its interpreter is missing")
        case _:
            return Done("failed", "StartFailed", f"{what!r} could not be started: {error.strerror}")


def stopped(stopped_by: StoppedBy, *, what: str, timeout_seconds: float) -> tuple[ResultStatus, str]:
    """Status and words of a process that a limit ended; the reason is `stopped_by` itself."""
    match stopped_by:
        case "Cancelled":
            return "cancelled", f"{what} was stopped because the job was cancelled"
        case "TimedOut":
            return "timed-out", f"{what} was stopped after {timeout_seconds:g} s (taskTimeoutSeconds)"
        case "OutputLimit":
            return "failed", f"{what} was stopped: it wrote more than its output limit"
        case "MemoryLimit":
            return "failed", f"{what} was stopped: it and its children used more memory than its limit"
        case "DiskLimit":
            return "failed", f"{what} was stopped: it filled the disk of the worker's scratch folder"
        case "":
            raise ValueError("nothing stopped it")


def judge(ended: Ended, *, what: str, timeout_seconds: float) -> tuple[ResultStatus, str, str]:
    """Status, reason and message of a command that ran."""
    if ended.stopped_by:
        status, message = stopped(ended.stopped_by, what=what, timeout_seconds=timeout_seconds)
        return status, ended.stopped_by, message
    if ended.exit_code == 0:
        return "succeeded", "Completed", ""
    if ended.exit_code < 0:
        return "failed", "Signalled", f"ended by {signal_name(-ended.exit_code)}"
    return "failed", "ExitCode", f"exited with code {ended.exit_code}"


def signal_name(number: int) -> str:
    """`signal 11 (SIGSEGV)`."""
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def done_of(ended: Ended, *, status: ResultStatus, reason: str, message: str, payload: str = "") -> Done:
    """The reply with the tails of both streams."""
    return Done(
        status,
        reason,
        message,
        exit_code=ended.exit_code,
        duration_seconds=ended.seconds,
        payload=payload,
        stdout=tail(ended.stdout),
        stderr=tail(ended.stderr),
        stdout_bytes=ended.stdout_bytes,
        stderr_bytes=ended.stderr_bytes,
    )


def tail(data: bytes) -> str:
    """The end of a stream as text; bytes that are not UTF-8 are replaced."""
    return data[-STREAM_TAIL_BYTES:].decode("utf-8", "replace")
