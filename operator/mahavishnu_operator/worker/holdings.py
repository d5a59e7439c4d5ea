"""What this worker holds: each lease from its grant to the receipt for its result.

One table that all loops of the agent share. What must stay true: a result stays here until there is a receipt for
it; a task is started only under a lease that can still be good by this machine's clock; one that was lost is told
to stop and its answer is dropped.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mahavishnu_operator.api.wire import (
    INLINE_PAYLOAD_BYTES,
    STREAM_TAIL_BYTES,
    CommandTask,
    Grant,
    Hold,
    NoopTask,
    TaskResult,
)

from .conversation import Work
from .messages import Done
from .outputs import OutputBuffer

MAX_WAITING_OUTPUT_BYTES = 16 * 1024 * 1024  # of one task, while the dispatcher is away
MAX_MESSAGE = 4096


class Stop(asyncio.Event):
    """Set when a task shall stop; somebody may be told of it at once."""

    def __init__(self) -> None:
        super().__init__()
        self._tell: Callable[[], None] | None = None

    def set(self) -> None:
        """Stop it; told once."""
        if not self.is_set():
            super().set()
            if self._tell is not None:
                self._tell()

    def tell(self, callback: Callable[[], None]) -> None:
        """Call back when it shall stop; at once when it shall already."""
        self._tell = callback
        if self.is_set():
            callback()


@dataclass(eq=False)
class Held:
    """A lease and where its task stands here. Times are of the monotonic clock."""

    grant: Grant
    good_until: float  # counted from before the request that got or renewed it, so never too late
    taken_at: float = 0.0
    cancel: Stop = field(default_factory=Stop)
    started_at: float | None = None
    result: TaskResult | None = None
    blobs: tuple[bytes, ...] = ()
    payload: bytes = b""  # too large to travel inside the result
    dropped: bool = False  # lost or handed back: its answer is not wanted any more
    output: OutputBuffer = field(default_factory=lambda: OutputBuffer(limit_bytes=MAX_WAITING_OUTPUT_BYTES))

    @property
    def hold(self) -> Hold:
        """The lease as the wire names it."""
        return Hold(self.grant.task, self.grant.attempt)

    @property
    def is_waiting(self) -> bool:
        """For a slot: not started, and still wanted."""
        return self.started_at is None and not self.dropped


class Pulse:
    """Wakes all who wait for the next change."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def beat(self) -> None:
        """Wake those who wait now."""
        self._event.set()
        self._event.clear()

    async def next(self) -> None:
        """Wait for the next beat."""
        await self._event.wait()


class Holdings:
    """The table. `changed` beats when something came, ended, went or was renewed."""

    def __init__(self) -> None:
        self._held: dict[Hold, Held] = {}
        self._waiting: deque[Held] = deque()
        self._arrived = Pulse()
        self.changed = Pulse()
        self.finished = asyncio.Event()  # there may be a result to deliver
        self.waiting = asyncio.Event()  # there may be a task that waits for a slot

    def __len__(self) -> int:
        return len(self._held)

    @property
    def holds(self) -> tuple[Hold, ...]:
        """All leases."""
        return tuple(self._held)

    @property
    def all(self) -> list[Held]:
        """All leases with their state, oldest first."""
        return list(self._held.values())

    @property
    def unstarted(self) -> list[Held]:
        """Those that wait for a slot."""
        return [held for held in self._held.values() if held.is_waiting]

    @property
    def ended(self) -> int:
        """How many have a result to deliver."""
        return sum(1 for held in self._held.values() if held.result is not None)

    @property
    def is_behind(self) -> bool:
        """Whether some wait for a slot: more results will come at once."""
        return any(held.is_waiting for held in reversed(self._held.values()))

    def stuck(self, now: float, *, slots: int, seconds: float) -> list[Held]:
        """Those that wait for no free slot, and have for that long, while what runs has taken as long already."""
        waiting = self.unstarted
        running = sum(1 for held in self._held.values() if held.started_at is not None and held.result is None)
        if self.longest_running(now) < seconds:
            return []
        return [held for held in waiting[max(0, slots - running) :] if now - held.taken_at >= seconds]

    def longest_running(self, now: float) -> float:
        """Seconds since the oldest running task was started; 0 when none runs."""
        running = [
            now - held.started_at for held in self._held.values() if held.started_at is not None and held.result is None
        ]
        return max(running, default=0.0)

    def take(self, grant: Grant, *, granted_at: float) -> None:
        """Hold a new lease. A no-op is done at once; the rest waits for a slot."""
        held = Held(grant, good_until=granted_at + grant.lease_seconds, taken_at=time.monotonic())
        if held.hold in self._held:  # granted twice to us: it is here already
            return
        self._held[held.hold] = held
        if isinstance(grant.spec, NoopTask):
            held.started_at = time.monotonic()
            self.finish(held, Work(Done("succeeded", "Completed")))
        else:
            self._waiting.append(held)
            self._has_arrived()
            self.changed.beat()

    def _has_arrived(self) -> None:
        self.waiting.set()
        self._arrived.beat()

    async def next_to_start(self) -> Held:
        """The next task for a free slot, marked as started. Waits while its lease may be over: a renewal tells."""
        while True:
            while not self._waiting:
                await self._arrived.next()
            held = self._waiting.popleft()
            while held.is_waiting and time.monotonic() >= held.good_until:
                await self.changed.next()
            if held.is_waiting:
                held.started_at = time.monotonic()
                return held

    def more_to_start(self, most: int, *, slots: int) -> list[Held]:
        """Commands that wait first in line, marked as started: up to `most`, and no more than a slot's share."""
        now, started = time.monotonic(), list[Held]()
        most = min(most, -(-len(self._waiting) // slots))
        while self._waiting and len(started) < most:
            held = self._waiting[0]
            if held.is_waiting and (now >= held.good_until or not isinstance(held.grant.spec, CommandTask)):
                break
            self._waiting.popleft()
            if held.is_waiting:
                held.started_at = now
                started.append(held)
        return started

    def put_back(self, held: Held) -> None:
        """It was not begun after all, and waits again, before the others; a cancelled one is answered."""
        held.started_at = None
        if held.cancel.is_set():
            self.cancel(held.hold)
        elif not held.dropped:
            self._waiting.appendleft(held)
            self._has_arrived()
        self.changed.beat()

    def overdue(self, now: float) -> bool:
        """Whether a lease may be over."""
        return any(held.good_until <= now for held in self._held.values())

    def renewed(self, holds: Iterable[Hold], *, asked_at: float) -> None:
        """These leases are good for their time from `asked_at`."""
        for hold in holds:
            if (held := self._held.get(hold)) is not None:
                held.good_until = asked_at + held.grant.lease_seconds
        self.changed.beat()

    def cancel(self, hold: Hold) -> None:
        """Stop it, or answer at once for one that was not started."""
        if (held := self._held.get(hold)) is None:
            return
        held.cancel.set()
        if held.is_waiting:
            held.started_at = time.monotonic()
            self.finish(held, Work(Done("cancelled", "Cancelled", "cancelled before it was started")))

    def drop(self, hold: Hold) -> None:
        """Stop it and forget it: it is not ours any more, or there is a receipt for it."""
        if (held := self._held.pop(hold, None)) is not None:
            held.dropped = True
            held.cancel.set()
            held.output.end()
            self.changed.beat()

    def finish(self, held: Held, work: Work) -> None:
        """Keep a result until it is delivered."""
        if not held.dropped:
            held.blobs = work.blobs
            held.payload, held.result = result_of(held.grant, work.done)
            self.finished.set()
        self.changed.beat()


def result_of(grant: Grant, done: Done) -> tuple[bytes, TaskResult]:
    """The result as it travels, and the payload that has to go before it as a blob (or b'')."""
    payload = done.payload.encode()
    inline = len(payload) <= INLINE_PAYLOAD_BYTES
    return b"" if inline else payload, TaskResult(
        task=grant.task,
        attempt=grant.attempt,
        status=done.status,
        reason=done.reason,
        message=done.message[:MAX_MESSAGE],
        exit_code=done.exit_code,
        duration_seconds=done.duration_seconds,
        payload=done.payload if inline else "",
        stdout=done.stdout[-STREAM_TAIL_BYTES:],
        stderr=done.stderr[-STREAM_TAIL_BYTES:],
        stdout_bytes=done.stdout_bytes,
        stderr_bytes=done.stderr_bytes,
    )
