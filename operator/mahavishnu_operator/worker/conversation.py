"""What is said with one runner: tasks on their way to it, and its answers, in the same order.

The pressure: a command of a millisecond must wait neither for the agent to wake nor for a message of its own. So short
commands are on their way several at once (docs/adr/0019), and answers are read several at once. What must stay true:
the first without an answer is the one that may have begun, and no other; what stands behind a long task is taken
back; a runner that does not answer in time is of no use.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from .messages import (
    Blob,
    Cancel,
    Done,
    Need,
    Output,
    Piece,
    Prepared,
    Reply,
    Start,
    Withdraw,
    Withdrawn,
    frame,
)
from .runners import Runner

ANSWER_MARGIN_SECONDS = 30.0  # after a task's own time-out: to kill, to parse, to clean up
CANCEL_MARGIN_SECONDS = 10.0  # after a cancel
GATHER_SECONDS = 0.04  # between looks at the answers of short commands
PATIENCE_SECONDS = 0.1  # without an answer, before what stands behind a task is taken back


@dataclass(frozen=True)
class Work:
    """A task's end as the runner told it, and the blobs to store before it."""

    done: Done
    blobs: tuple[bytes, ...] = ()


class Cancelling(Protocol):
    """Whether a task shall stop, and who is told."""

    def is_set(self) -> bool:
        """It shall stop."""
        ...

    def tell(self, callback: Callable[[], None]) -> None:
        """Call back when it shall."""
        ...


class Supplier(Protocol):
    """Where the files of a task's source come from (checkouts.Use)."""

    async def piece(self) -> Piece:
        """The next piece of the archive."""
        ...

    def prepared(self, what: Prepared) -> None:
        """The runner has the files."""
        ...


@dataclass(eq=False)
class Order:
    """A task for a runner, and who is told: `on_output` of pieces of a command's output, then one of the others.

    `on_end`: how it ended; `on_back`: it was sent and not begun. Of several the last one in line is told so first.
    """

    start: Start
    cancel: Cancelling
    on_output: Callable[[Output], None]
    on_end: Callable[[Work], None]
    on_back: Callable[[], None]
    supplier: Supplier | None = None
    blobs: list[bytes] = field(default_factory=list)
    cancelled_at: float | None = None


# What may be sent after those that are on their way, so many are they: short commands.
More = Callable[[int], list[Order]]


class Conversation:
    """With one runner, from a first task until nothing is on its way. `sent`: what has no answer, in order."""

    def __init__(self, runner: Runner, more: More) -> None:
        self.sent: deque[Order] = deque()
        self._runner, self._more, self._loop = runner, more, asyncio.get_running_loop()
        self._heard_at = 0.0  # when the first in line became the first
        self._asked_back_at: float | None = None
        self._leaving = False
        self._alone = asyncio.Event()  # nothing stands behind the first
        self._waiting: asyncio.Timeout | None = None

    @property
    def scratch(self) -> Path | None:
        """The folder of the task that runs."""
        return Path(self.sent[0].start.scratch) if self.sent else None

    async def hold(self, order: Order) -> bool:
        """Talk until all is answered; whether that runner ends by itself now, and begins nothing more.

        What is in `sent` after it, or after TimeoutError or ValueError, has no answer: the runner has gone or is of
        no use.
        """
        try:
            self._send([order])
            async with asyncio.timeout_at(self._ends_at()) as self._waiting:
                await self._runner.requests.drain()
            while self.sent:
                reply = await self._reply()
                if reply is None:
                    return False
                if isinstance(reply, Need):
                    await self._supply()
                if isinstance(reply, Done) and reply.last:
                    self.give_back()
                    return True
                await self._go_on(ended=isinstance(reply, Done))
            return False
        finally:
            self._waiting = None
            self._alone.set()

    def give_back(self) -> None:
        """None of those that were sent was begun."""
        while self.sent:
            self.sent.pop().on_back()

    async def withdraw(self) -> None:
        """Take back what was not begun, and send nothing more."""
        self._leaving = True
        if len(self.sent) > 1:
            self._ask_back()
            await self._alone.wait()

    async def _go_on(self, *, ended: bool) -> None:
        """After a reply: send more behind it, and let answers of short commands gather."""
        if len(self.sent) <= 1:
            self._alone.set()
        if self._runner.answers.has_frame:
            return
        if ended and not self._leaving and self._asked_back_at is None:
            self._send(self._more(len(self.sent)))
        if len(self.sent) > 1:
            await asyncio.sleep(GATHER_SECONDS)

    def _send(self, orders: Sequence[Order]) -> None:
        if not orders:
            return
        if not self.sent:
            self._heard_at = self._loop.time()
        self.sent.extend(orders)
        if len(self.sent) > 1:
            self._alone.clear()
        self._runner.requests.write(b"".join(frame(order.start) for order in orders))
        for order in orders:
            order.cancel.tell(partial(self._cancel, order))

    def _cancel(self, order: Order) -> None:
        """Pass a cancel on; it shortens the time for an answer."""
        if order not in self.sent:
            return
        order.cancelled_at = self._loop.time()
        self._runner.requests.write(frame(Cancel(order.start.number)))
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(self._ends_at())

    def _ask_back(self) -> None:
        if self._asked_back_at is None:
            self._asked_back_at = self._loop.time()
            self._runner.requests.write(frame(Withdraw()))

    async def _reply(self) -> Reply | None:
        """The next reply, settled; None when the runner has gone. TimeoutError, ValueError: it is of no use."""
        while True:
            try:
                async with asyncio.timeout_at(self._look_at()) as self._waiting:
                    reply = await self._runner.answers.reply()
            except TimeoutError:
                if self._loop.time() >= self._ends_at():
                    raise
                self._ask_back()
            else:
                self._settle(reply)
                return reply
            finally:
                self._waiting = None

    async def _supply(self) -> None:
        """Send the next piece of the archive that the first task needs."""
        supplier = self.sent[0].supplier
        if supplier is None:
            raise ValueError("the runner asks for an archive, and its task has none")
        async with asyncio.timeout_at(self._ends_at()) as self._waiting:
            self._runner.requests.write(frame(await supplier.piece()))
            await self._runner.requests.drain()
        self._waiting = None

    def _settle(self, reply: Reply | None) -> None:
        match reply:
            case Output():
                self.sent[0].on_output(reply)
            case Blob(data):
                self.sent[0].blobs.append(data)
            case Prepared() as prepared if self.sent[0].supplier is not None:
                self.sent[0].supplier.prepared(prepared)
            case Done():
                order = self.sent.popleft()
                self._heard_at = self._loop.time()
                order.on_end(Work(reply, tuple(order.blobs)))
            case Withdrawn(count):
                if count > len(self.sent):
                    raise ValueError(f"it withdraws {count} tasks of {len(self.sent)}")
                self._asked_back_at = None
                for _ in range(count):
                    self.sent.pop().on_back()

    def _look_at(self) -> float:
        """Until when an answer is waited for before something is done about it."""
        if len(self.sent) > 1 and self._asked_back_at is None:
            return min(self._ends_at(), self._heard_at + PATIENCE_SECONDS)
        return self._ends_at()

    def _ends_at(self) -> float:
        """When a runner that has not answered is given up."""
        first = self.sent[0]
        ends_at = self._heard_at + first.start.timeout_seconds + ANSWER_MARGIN_SECONDS
        if first.cancelled_at is not None:
            ends_at = min(ends_at, max(first.cancelled_at, self._heard_at) + CANCEL_MARGIN_SECONDS)
        if self._asked_back_at is not None and len(self.sent) > 1:
            ends_at = min(ends_at, self._asked_back_at + ANSWER_MARGIN_SECONDS)
        return ends_at
