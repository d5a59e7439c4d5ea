"""The agent: leases tasks, has them run, delivers what they answered. It holds the token and starts no tool itself.

Four loops share one table of what is held: lease, renew, deliver, and one worker loop a slot. What must stay true: a
finished result stays until the dispatcher gave a receipt for it, across any number of its restarts; a task that was
lost or cancelled is stopped; on SIGTERM the worker finishes within its grace or hands its leases back; when stdin
closes the parent is dead, and nothing of this worker outlives it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from mahavishnu_operator.api.wire import (
    INLINE_PAYLOAD_BYTES,
    Empty,
    Grant,
    Hold,
    LeaseRequest,
    LeaseResponse,
    NoopTask,
    OutputChunk,
    OutputRequest,
    ReleaseRequest,
    RenewRequest,
    RenewResponse,
    ResultsRequest,
    ResultsResponse,
    ScanTask,
    TaskResult,
)
from mahavishnu_operator.support.logs import configure_logging

from . import descendants
from .client import CallFailed, DispatcherClient, Refused
from .config import WorkerConfig
from .messages import Done, Output, Start
from .pacing import Pace, decide_lease
from .slot import Runners, Slot, Work

log = structlog.get_logger(__name__)

LEASE_WAIT_SECONDS = 20.0
OUTPUT_PAUSE_SECONDS = 0.5
KNOWN_NEWS_PAUSE_SECONDS = 0.5  # a renew that only repeats what is being done already


@dataclass
class _Held:
    """A lease and where its task stands here."""

    grant: Grant
    cancel: asyncio.Event = field(default_factory=asyncio.Event)
    started_at: float | None = None  # monotonic
    result: TaskResult | None = None
    blobs: tuple[bytes, ...] = ()
    dropped: bool = False  # lost: its answer is not wanted any more
    output: list[OutputChunk] = field(default_factory=list)

    @property
    def hold(self) -> Hold:
        return Hold(self.grant.task, self.grant.attempt)


class Agent:
    """One worker. `run` answers the exit code."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._held: dict[Hold, _Held] = {}
        self._client = DispatcherClient(config, incarnation=uuid.uuid4().hex, holds=lambda: tuple(self._held))
        self._todo: asyncio.Queue[_Held] = asyncio.Queue()
        self._pace = Pace()
        self._room = asyncio.Event()  # something ended: there may be room for more
        self._finished = asyncio.Event()
        self._draining = asyncio.Event()
        self._asked_to_stop = asyncio.Event()
        self._scratch = Path(config.work_dir) / "scratch"
        self._counter = 0

    async def run(self, *, parent: asyncio.StreamReader | None = None) -> int:
        """Work until drained, told to stop, or refused."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop.set)
        watching = None if parent is None else asyncio.create_task(_die_with(parent))
        try:
            await self._client.register()
            log.info("registered", pool=self._config.pool, worker=self._config.worker, slots=self._config.slots)
            await self._work()
        except Refused as error:
            log.error("the dispatcher refused this worker", error=str(error))
            return error.exit_code
        finally:
            if watching is not None:
                watching.cancel()
            await self._client.close()
        return 0

    async def _work(self) -> None:
        runners = Runners()
        slots = [Slot(number, runners) for number in range(self._config.slots)]
        try:
            with _first_refusal():
                async with asyncio.TaskGroup() as group:
                    always = [
                        *(group.create_task(self._serve(slot)) for slot in slots),
                        group.create_task(self._renew()),
                        group.create_task(self._deliver()),
                        group.create_task(self._send_output()),
                    ]
                    leasing = group.create_task(self._lease())
                    await self._until_drained(leasing)
                    leasing.cancel()
                    for task in always:
                        task.cancel()
        finally:
            for slot in slots:
                await slot.close()
        with suppress(CallFailed):
            await self._client.tell("/v1/leave", Empty())
        log.info("left", pool=self._config.pool, worker=self._config.worker)

    async def _until_drained(self, leasing: asyncio.Task[None]) -> None:
        """Wait for a reason to stop, then for the end of what is held, or of the grace."""
        stop = asyncio.create_task(self._asked_to_stop.wait())
        drain = asyncio.create_task(self._draining.wait())
        await asyncio.wait({stop, drain}, return_when=asyncio.FIRST_COMPLETED)
        drain.cancel()
        leasing.cancel()
        self._draining.set()
        await self._hand_back([held for held in self._held.values() if held.started_at is None], "not started yet")
        grace = self._config.grace_seconds if stop.done() else None
        stop.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self._held:
                    self._room.clear()
                    await self._room.wait()
        unfinished = [held for held in self._held.values() if held.result is None]
        await self._hand_back(unfinished, "the worker was stopped and its grace is over")
        while self._held:  # results that are still on their way
            self._room.clear()
            await self._room.wait()

    async def _hand_back(self, held: list[_Held], why: str) -> None:
        if not held:
            return
        for one in held:
            one.dropped = True
            one.cancel.set()
            self._held.pop(one.hold, None)
        with suppress(CallFailed):
            await self._client.tell("/v1/release", ReleaseRequest(tuple(one.hold for one in held), why))

    async def _lease(self) -> None:
        while True:
            self._room.clear()
            now = time.monotonic()
            running = [now - h.started_at for h in self._held.values() if h.started_at is not None and h.result is None]
            wanted = decide_lease(
                slots=self._config.slots,
                held=len(self._held),
                pace=self._pace,
                longest_running_seconds=max(running, default=0.0),
                max_batch=self._client.pace.max_batch,
            )
            if wanted == 0:
                await self._room.wait()
                continue
            request = LeaseRequest(max=wanted, wait_seconds=LEASE_WAIT_SECONDS)
            answer = await self._client.call("/v1/lease", request, LeaseResponse, wait_seconds=LEASE_WAIT_SECONDS)
            for grant in answer.grants:
                self._take(grant)
            if answer.drain:
                self._draining.set()
                return

    def _take(self, grant: Grant) -> None:
        held = _Held(grant)
        if held.hold in self._held:  # granted twice to us: it is here already
            return
        self._held[held.hold] = held
        if isinstance(grant.spec, NoopTask):
            held.started_at = time.monotonic()
            self._finish(held, Work(Done("succeeded", "Completed")), 0.0)
        else:
            self._todo.put_nowait(held)

    async def _serve(self, slot: Slot) -> None:
        while True:
            held = await self._todo.get()
            if held.dropped:
                continue
            if held.cancel.is_set():
                self._finish(held, Work(Done("cancelled", "Cancelled", "cancelled before it was started")), 0.0)
                continue
            held.started_at = time.monotonic()
            work = await self._execute(slot, held)
            self._finish(held, work, time.monotonic() - held.started_at)

    async def _execute(self, slot: Slot, held: _Held) -> Work:
        grant, files = held.grant, b""
        if isinstance(grant.spec, NoopTask):
            return Work(Done("succeeded", "Completed"))
        if isinstance(grant.spec, ScanTask):
            try:
                files = await self._client.get_blob(grant.spec.files_sha256)
            except CallFailed as error:
                return Work(Done("failed", "InputMissing", f"the list of files could not be fetched: {error}"))
        self._counter += 1
        scratch = str(self._scratch / f"{os.getpid()}-{self._counter}")
        start = Start(grant.spec, grant.timeout_seconds, scratch, files)

        async def keep(piece: Output) -> None:
            chunk = OutputChunk(grant.task, grant.attempt, piece.stream, piece.offset, piece.data)
            held.output.append(chunk)

        return await slot.run(start, cancel=held.cancel, on_output=keep)

    def _finish(self, held: _Held, work: Work, seconds: float) -> None:
        self._pace = self._pace.after(seconds)
        self._room.set()
        if held.dropped:
            return
        done = work.done
        held.blobs = work.blobs
        held.result = TaskResult(
            task=held.grant.task,
            attempt=held.grant.attempt,
            status=done.status,
            reason=done.reason,
            message=done.message,
            exit_code=done.exit_code,
            duration_seconds=done.duration_seconds,
            payload=done.payload,
            stdout=done.stdout,
            stderr=done.stderr,
            stdout_bytes=done.stdout_bytes,
            stderr_bytes=done.stderr_bytes,
        )
        self._finished.set()

    async def _deliver(self) -> None:
        while True:
            await self._finished.wait()
            self._finished.clear()
            while ready := [h for h in self._held.values() if h.result is not None][: self._client.pace.max_batch]:
                results = [await self._prepare(held) for held in ready]
                try:
                    answer = await self._client.call("/v1/results", ResultsRequest(tuple(results)), ResultsResponse)
                    receipts = {Hold(r.task, r.attempt): r.receipt for r in answer.receipts}
                except CallFailed as error:
                    log.error("results were refused and are dropped", error=str(error), results=len(results))
                    receipts = {}
                for held in ready:
                    self._held.pop(held.hold, None)
                    if receipts.get(held.hold) not in ("recorded", "duplicate"):
                        log.warning("a result does not count", task=held.grant.task, receipt=receipts.get(held.hold))
                self._room.set()

    async def _prepare(self, held: _Held) -> TaskResult:
        """The result as it travels: output and blobs first, a large payload as a blob."""
        if held.result is None:
            raise ValueError(f"{held.grant.task} has no result yet")
        await self._flush(held)
        for blob in held.blobs:
            await self._put(blob)
        held.blobs = ()
        payload = held.result.payload.encode()
        if len(payload) <= INLINE_PAYLOAD_BYTES:
            return held.result
        fields = {name: getattr(held.result, name) for name in held.result.__struct_fields__}
        held.result = TaskResult(**{**fields, "payload": "", "payload_sha256": await self._put(payload)})
        return held.result

    async def _put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        await self._client.put_blob(digest, data)
        return digest

    async def _renew(self) -> None:
        known: set[Hold] = set()
        while True:
            wait = self._client.pace.renew_seconds
            request = RenewRequest(tuple(self._held), wait)
            answer = await self._client.call("/v1/renew", request, RenewResponse, wait_seconds=wait)
            news = {*answer.cancel, *answer.lost} - known
            known = {*answer.cancel, *answer.lost}
            for hold in news:
                if (held := self._held.get(hold)) is not None:
                    held.cancel.set()
                    if hold in answer.lost:
                        held.dropped = True
                        del self._held[hold]
                        self._room.set()
            if answer.drain:
                news = news if self._draining.is_set() else {Hold("drain", 0)}
                self._draining.set()
            if not news and (known or answer.drain):
                await asyncio.sleep(KNOWN_NEWS_PAUSE_SECONDS)

    async def _send_output(self) -> None:
        while True:
            await asyncio.sleep(OUTPUT_PAUSE_SECONDS)
            for held in list(self._held.values()):
                if held.result is None:
                    await self._flush(held)

    async def _flush(self, held: _Held) -> None:
        while held.output:
            chunks, held.output = held.output[:16], held.output[16:]
            with suppress(CallFailed):  # output is a courtesy: the result has the tail
                await self._client.tell("/v1/output", OutputRequest(tuple(chunks)))


@contextmanager
def _first_refusal() -> Iterator[None]:
    """A refusal out of the group of tasks that it ended."""
    try:
        yield
    except BaseExceptionGroup as group:
        refusals = [error for error in _leaves(group) if isinstance(error, Refused)]
        if not refusals:
            raise
        raise refusals[0] from None


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


async def _die_with(parent: asyncio.StreamReader) -> None:
    """End everything, at once, when the parent's pipe closes."""
    while await parent.read(4096):
        continue
    descendants.end_all()
    os._exit(1)


def run_agent(config: WorkerConfig, *, parent_pipe: bool = False) -> int:
    """Run one agent in this process to its end; the exit code. `parent_pipe`: stdin's end is the parent's death."""
    configure_logging(level=config.log_level)
    descendants.become_subreaper()
    descendants.hide_memory()

    async def work() -> int:
        parent = None
        if parent_pipe:
            parent = asyncio.StreamReader()
            reader = parent
            await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
            )
        return await Agent(config).run(parent=parent)

    return asyncio.run(work())
