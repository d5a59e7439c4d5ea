"""One slot of a worker: a runner process, kept warm across tasks and replaced when it dies.

What must stay true: when a runner dies, what it left is killed and removed before its task is reported; a runner that
does not answer in time is killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from .messages import Blob, Cancel, Done, Need, Output, Piece, Prepared, Start, frame, read_reply
from .runners import Runner, RunnerSource

log = structlog.get_logger(__name__)

ANSWER_MARGIN_SECONDS = 30.0  # after a task's own time-out: to kill, to parse, to clean up
CANCEL_MARGIN_SECONDS = 10.0  # after a cancel


@dataclass(frozen=True)
class Work:
    """A task's end as the runner told it, and the blobs to store before it."""

    done: Done
    blobs: tuple[bytes, ...] = ()


class Supplier(Protocol):
    """Where the files of a task's source come from (checkouts.Use)."""

    async def piece(self) -> Piece:
        """The next piece of the archive."""
        ...

    def prepared(self, what: Prepared) -> None:
        """The runner has the files."""
        ...


class Slot:
    """Runs one task at a time."""

    def __init__(self, number: int, runners: RunnerSource) -> None:
        self.number = number
        self._runners = runners
        self._runner: Runner | None = None

    async def warm(self) -> None:
        """Start the runner before its first task; what goes wrong is that task's to report."""
        with suppress(OSError):
            await self._live_runner()

    async def run(
        self,
        start: Start,
        *,
        cancel: asyncio.Event,
        on_output: Callable[[Output], None],
        supplier: Supplier | None = None,
    ) -> Work:
        """Run a task to its end, whatever happens to the runner. `on_output` gets pieces of a command's output."""
        try:
            runner = await self._live_runner()
        except OSError as error:
            return Work(Done("failed", "RunnerLost", f"no runner could be started on this machine: {error}"))
        try:
            async with _deadline(runner, start.timeout_seconds, cancel):
                work = await _converse(runner, start, on_output, supplier)
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

    async def close(self, *, scratch: Path | None = None) -> int:
        """Kill the runner and all below it, and remove that folder; its exit code (0 when there was none)."""
        runner, self._runner = self._runner, None
        return 0 if runner is None else await self._runners.end(runner, scratch=scratch)

    async def _discard(self, start: Start) -> int:
        return await self.close(scratch=Path(start.scratch))

    async def _live_runner(self) -> Runner:
        if self._runner is not None and self._runner.has_ended:
            log.warning("a runner ended between tasks", slot=self.number, code=await self.close())
        if self._runner is None:
            self._runner = await self._runners.start()
        return self._runner


@asynccontextmanager
async def _deadline(runner: Runner, timeout_seconds: float, cancel: asyncio.Event) -> AsyncIterator[None]:
    """TimeoutError when the runner does not answer in time; a cancel is passed on to it, and shortens the time."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + timeout_seconds + ANSWER_MARGIN_SECONDS
    async with asyncio.timeout_at(ends_at) as deadline:

        async def pass_cancel_on() -> None:
            await cancel.wait()
            deadline.reschedule(min(ends_at, loop.time() + CANCEL_MARGIN_SECONDS))
            runner.requests.write(frame(Cancel()))

        cancelling = asyncio.create_task(pass_cancel_on())
        try:
            yield
        finally:
            cancelling.cancel()


async def _converse(
    runner: Runner, start: Start, on_output: Callable[[Output], None], supplier: Supplier | None
) -> Work | None:
    """The task's end; None when the runner has gone."""
    runner.requests.write(frame(start))
    await runner.requests.drain()
    blobs: list[bytes] = []
    while (reply := await read_reply(runner.answers)) is not None:
        match reply:
            case Output():
                on_output(reply)
            case Blob(data):
                blobs.append(data)
            case Need():
                if supplier is None:
                    raise ValueError("the runner asks for an archive, and its task has none")
                runner.requests.write(frame(await supplier.piece()))
                await runner.requests.drain()
            case Prepared():
                if supplier is not None:
                    supplier.prepared(reply)
            case Done():
                return Work(reply, tuple(blobs))
    return None
