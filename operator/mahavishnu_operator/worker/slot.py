"""One slot of a worker: a runner process, kept warm across tasks and replaced when it dies.

What must stay true: when a runner dies, what it left is killed and removed before its task is reported; a runner that
does not answer in time is killed; what was sent to it and not begun goes back.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import structlog

from .conversation import Conversation, More, Order, Work
from .messages import Done
from .runners import Runner, RunnerSource

log = structlog.get_logger(__name__)


class Slot:
    """Runs one task at a time."""

    def __init__(self, number: int, runners: RunnerSource) -> None:
        self.number = number
        self._runners = runners
        self._runner: Runner | None = None
        self._talk: Conversation | None = None

    async def warm(self) -> None:
        """Start the runner before its first task; what goes wrong is that task's to report."""
        with suppress(OSError):
            await self._live_runner()

    async def run(self, order: Order, more: More) -> None:
        """Run a task to its end, whatever happens to the runner, and what `more` has to send after it."""
        try:
            runner = await self._live_runner()
        except OSError as error:
            order.on_end(Work(Done("failed", "RunnerLost", f"no runner could be started on this machine: {error}")))
            return
        talk = self._talk = Conversation(runner, more)
        try:
            if await talk.hold(order):
                await self.close()
        except (TimeoutError, ValueError, ConnectionError) as error:
            log.warning("a runner gave no usable answer", slot=self.number, error=str(error) or type(error).__name__)
        except asyncio.CancelledError:
            await self.close(scratch=talk.scratch)
            raise
        finally:
            self._talk = None
        if talk.sent:
            await self._replace(talk)

    async def withdraw(self) -> None:
        """Take back what the runner has not begun."""
        if self._talk is not None:
            await self._talk.withdraw()

    async def close(self, *, scratch: Path | None = None) -> int:
        """Kill the runner and all below it, and remove that folder; its exit code (0 when there was none)."""
        runner, self._runner = self._runner, None
        return 0 if runner is None else await self._runners.end(runner, scratch=scratch)

    async def _replace(self, talk: Conversation) -> None:
        """The runner is no use any more: the first task without an answer is the one that had begun."""
        code = await self.close(scratch=talk.scratch)
        first = talk.sent.popleft()
        if first.cancel.is_set():
            work = Work(Done("cancelled", "Cancelled", "stopped by killing its runner, which did not answer"))
        else:
            how = f"with code {code}" if code >= 0 else f"by signal {-code}"
            work = Work(Done("failed", "RunnerLost", f"the process that ran this task ended {how} before it answered"))
        first.on_end(work)
        talk.give_back()

    async def _live_runner(self) -> Runner:
        if self._runner is not None and self._runner.has_ended:
            log.warning("a runner ended between tasks", slot=self.number, code=await self.close())
        if self._runner is None:
            self._runner = await self._runners.start()
        return self._runner
