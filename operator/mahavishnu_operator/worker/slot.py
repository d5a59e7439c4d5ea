"""One slot of a worker: a runner process, kept warm across tasks and replaced when it dies.

What must stay true: when a runner dies, what it left is killed before its task is reported; a runner that does not
answer in time is killed; nothing but this agent's own descendants is ever signalled.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from . import descendants
from .messages import Blob, Cancel, Done, Output, Start, read_reply, send

log = structlog.get_logger(__name__)

RUNNER = (sys.executable, "-P", "-m", "mahavishnu_operator.worker.runner")
ANSWER_MARGIN_SECONDS = 30.0  # after a task's own time-out: to kill, to parse, to clean up


@dataclass(frozen=True)
class Work:
    """A task's end as the runner told it, and the blobs to store before it."""

    done: Done
    blobs: tuple[bytes, ...] = ()


@dataclass
class Runners:
    """The pids of all live runners of this agent: descendants below them belong to running tasks."""

    pids: set[int] = field(default_factory=set)


class Slot:
    """Runs one task at a time. `on_output` gets pieces of a command's output."""

    def __init__(self, number: int, runners: Runners) -> None:
        self.number = number
        self._runners = runners
        self._process: asyncio.subprocess.Process | None = None
        self._cancelled = asyncio.Event()

    async def run(self, start: Start, *, cancel: asyncio.Event, on_output: Callable[[Output], Awaitable[None]]) -> Work:
        """Run a task to its end, whatever happens to the runner."""
        try:
            process = self._process or await self._start_runner()
        except OSError as error:
            return Work(Done("failed", "RunnerLost", f"no runner could be started on this machine: {error}"))
        cancelling = asyncio.create_task(self._cancel_when(cancel, process))
        try:
            async with asyncio.timeout(start.timeout_seconds + ANSWER_MARGIN_SECONDS):
                work = await _converse(process, start, on_output)
        except (TimeoutError, ValueError, ConnectionError) as error:
            log.warning("runner gave no usable answer", slot=self.number, error=str(error) or type(error).__name__)
            work = None
        except asyncio.CancelledError:
            await self.close()
            raise
        finally:
            cancelling.cancel()
        if work is not None:
            return work
        code = await self.close()
        how = f"with code {code}" if code >= 0 else f"by signal {-code}"
        return Work(Done("failed", "RunnerLost", f"the process that ran this task ended {how} before it answered"))

    async def close(self) -> int:
        """Kill the runner and all below it; its exit code (0 when there was none)."""
        process, self._process = self._process, None
        if process is None:
            return 0
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        code = await process.wait()
        self._runners.pids.discard(process.pid)
        await asyncio.to_thread(descendants.end_all, spare=tuple(self._runners.pids))
        return code

    async def _start_runner(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *RUNNER, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=_runner_environment()
        )
        self._process = process
        self._runners.pids.add(process.pid)
        return process

    async def _cancel_when(self, cancel: asyncio.Event, process: asyncio.subprocess.Process) -> None:
        await cancel.wait()
        if process.stdin is not None:
            with suppress(ConnectionError):
                await send(process.stdin, Cancel())


async def _converse(
    process: asyncio.subprocess.Process, start: Start, on_output: Callable[[Output], Awaitable[None]]
) -> Work | None:
    """The task's end; None when the runner has gone."""
    if process.stdin is None or process.stdout is None:
        raise ValueError("the runner was started without pipes")
    await send(process.stdin, start)
    blobs: list[bytes] = []
    while (reply := await read_reply(process.stdout)) is not None:
        match reply:
            case Output():
                await on_output(reply)
            case Blob(data):
                blobs.append(data)
            case Done():
                return Work(reply, tuple(blobs))
    return None


def _runner_environment() -> dict[str, str]:
    """PATH and nothing else: what the runner does not have no tool can take from it."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
