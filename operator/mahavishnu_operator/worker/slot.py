"""One slot of a worker: a runner process, kept warm across tasks and replaced when it dies.

What must stay true: when a runner dies, what it left is killed and removed before its task is reported; a runner that
does not answer in time is killed; nothing but this agent's own descendants is ever signalled.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from . import descendants
from .messages import Blob, Cancel, Done, Output, Start, frame, read_reply
from .surroundings import remove_scratch

log = structlog.get_logger(__name__)

RUNNER = (sys.executable, "-P", "-m", "mahavishnu_operator.worker.runner")
ANSWER_MARGIN_SECONDS = 30.0  # after a task's own time-out: to kill, to parse, to clean up
CANCEL_MARGIN_SECONDS = 10.0  # after a cancel


@dataclass(frozen=True)
class Work:
    """A task's end as the runner told it, and the blobs to store before it."""

    done: Done
    blobs: tuple[bytes, ...] = ()


@dataclass
class Runners:
    """The pids of all live runners of this agent: descendants below them belong to running tasks.

    `changing` is held while a runner is started, which has no pid yet, and while orphans are killed.
    """

    pids: set[int] = field(default_factory=set)
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)


class Slot:
    """Runs one task at a time."""

    def __init__(self, number: int, runners: Runners) -> None:
        self.number = number
        self._runners = runners
        self._process: asyncio.subprocess.Process | None = None

    async def warm(self) -> None:
        """Start the runner before its first task; what goes wrong is that task's to report."""
        with suppress(OSError):
            await self._live_runner()

    async def run(self, start: Start, *, cancel: asyncio.Event, on_output: Callable[[Output], None]) -> Work:
        """Run a task to its end, whatever happens to the runner. `on_output` gets pieces of a command's output."""
        try:
            process = await self._live_runner()
        except OSError as error:
            return Work(Done("failed", "RunnerLost", f"no runner could be started on this machine: {error}"))
        try:
            async with _deadline(process, start.timeout_seconds, cancel):
                work = await _converse(process, start, on_output)
        except (TimeoutError, ValueError, ConnectionError) as error:
            log.warning("a runner gave no usable answer", slot=self.number, error=str(error) or type(error).__name__)
            work = None
        except asyncio.CancelledError:
            await self._discard(start)
            raise
        if work is not None:
            if work.done.last:
                await self.close()
            return work
        code = await self._discard(start)
        if cancel.is_set():
            return Work(Done("cancelled", "Cancelled", "stopped by killing its runner, which did not answer"))
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
        async with self._runners.changing:
            self._runners.pids.discard(process.pid)
            try:
                await asyncio.to_thread(descendants.end_all, spare=tuple(self._runners.pids))
            except descendants.Stuck as error:
                log.error("a process of a task cannot be ended", slot=self.number, error=str(error))
        return code

    async def _discard(self, start: Start) -> int:
        code = await self.close()
        await asyncio.to_thread(remove_scratch, Path(start.scratch))
        return code

    async def _live_runner(self) -> asyncio.subprocess.Process:
        if self._process is not None and descendants.has_ended(self._process.pid):
            log.warning("a runner ended between tasks", slot=self.number, code=await self.close())
        if self._process is None:
            async with self._runners.changing:
                self._process = await asyncio.create_subprocess_exec(
                    *RUNNER, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=_runner_environment()
                )
                self._runners.pids.add(self._process.pid)
        return self._process


@asynccontextmanager
async def _deadline(
    process: asyncio.subprocess.Process, timeout_seconds: float, cancel: asyncio.Event
) -> AsyncIterator[None]:
    """TimeoutError when the runner does not answer in time; a cancel is passed on to it, and shortens the time."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + timeout_seconds + ANSWER_MARGIN_SECONDS
    async with asyncio.timeout_at(ends_at) as deadline:

        async def pass_cancel_on() -> None:
            await cancel.wait()
            deadline.reschedule(min(ends_at, loop.time() + CANCEL_MARGIN_SECONDS))
            if process.stdin is not None:
                process.stdin.write(frame(Cancel()))

        cancelling = asyncio.create_task(pass_cancel_on())
        try:
            yield
        finally:
            cancelling.cancel()


async def _converse(
    process: asyncio.subprocess.Process, start: Start, on_output: Callable[[Output], None]
) -> Work | None:
    """The task's end; None when the runner has gone."""
    if process.stdin is None or process.stdout is None:
        raise ValueError("the runner was started without pipes")
    process.stdin.write(frame(start))
    await process.stdin.drain()
    blobs: list[bytes] = []
    while (reply := await read_reply(process.stdout)) is not None:
        match reply:
            case Output():
                on_output(reply)
            case Blob(data):
                blobs.append(data)
            case Done():
                return Work(reply, tuple(blobs))
    return None


def _runner_environment() -> dict[str, str]:
    """PATH and nothing else: what the runner does not have no tool can take from it."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
