"""Results and running output on their way to the dispatcher.

Everything that ended since the last request goes in one, and while more is about to end a moment is waited for it: a
dispatcher that commits for many at once is what makes a durable engine fast. What must stay true: blobs and output are
there before the result that stands on them; a result that is refused as it is (never one that was only not answered)
is replaced by one that says so.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress

import structlog
from msgspec.structs import replace

from mahavishnu_operator.api.wire import (
    OutputChunk,
    OutputRequest,
    Receipt,
    ResultsRequest,
    ResultsResponse,
    TaskResult,
)

from .client import CallFailed, DispatcherClient
from .holdings import Held, Holdings

log = structlog.get_logger(__name__)

OUTPUT_PAUSE_SECONDS = 0.5
GATHER_SECONDS = 0.2  # how long results wait, while tasks wait for a slot, for half of what is held to have ended
OUTPUT_REQUEST_BYTES = 1024 * 1024
MAX_REQUEST_BYTES = 8 * 1024 * 1024  # of results as JSON at its worst; a dispatcher takes 16 MiB


class Delivery:
    """Sends what the holdings have to tell."""

    def __init__(self, client: DispatcherClient, holdings: Holdings) -> None:
        self._client, self._holdings = client, holdings
        self._sending = asyncio.Lock()  # output of a task arrives in order, and before its result

    async def deliver(self) -> None:
        """Deliver results for ever."""
        while True:
            await self._holdings.finished.wait()
            await self._gather()
            self._holdings.finished.clear()
            while ready := [held for held in self._holdings.all if held.result is not None]:
                await self._deliver(ready[: self._client.pace.max_batch])

    async def _gather(self) -> None:
        """While more will end at once: let it."""
        holdings = self._holdings
        with suppress(TimeoutError):
            async with asyncio.timeout(GATHER_SECONDS):
                while holdings.is_behind and 2 * holdings.ended < len(holdings):
                    holdings.finished.clear()
                    await holdings.finished.wait()

    async def send_output(self) -> None:
        """Send output of running tasks for ever."""
        while True:
            await asyncio.sleep(OUTPUT_PAUSE_SECONDS)
            for held in self._holdings.all:
                await self._send_output(held)

    async def _deliver(self, ready: list[Held]) -> None:
        for held in ready:
            await self._send_before(held)
        results = fitting([held.result for held in ready if held.result is not None])
        try:
            answer = await self._client.call("/v1/results", ResultsRequest(tuple(results)), ResultsResponse)
        except CallFailed as error:
            await self._deliver_refused(ready[: len(results)], error)
            return
        for held, receipt in zip(ready, answer.receipts, strict=False):
            self._settle(held, receipt)

    async def _deliver_refused(self, refused: list[Held], error: CallFailed) -> None:
        """One bad result must not hold up the others: each goes alone, and a bad one is replaced."""
        if len(refused) > 1:
            for held in refused:
                await self._deliver([held])
            return
        (held,) = refused
        log.error("a result was refused", task=held.grant.task, attempt=held.grant.attempt, error=str(error))
        if held.result is None or held.result.reason == "ResultRefused":
            self._holdings.drop(held.hold)  # not even that can be said: the lease runs out
            return
        held.result = _in_place_of(held.result, f"the dispatcher refused its result: {error}")

    def _settle(self, held: Held, receipt: Receipt) -> None:
        if receipt.receipt in ("superseded", "unknown"):
            log.warning("a result does not count", task=receipt.task, attempt=receipt.attempt, receipt=receipt.receipt)
        self._holdings.drop(held.hold)

    async def _send_before(self, held: Held) -> None:
        """Output and blobs that a result stands on."""
        await self._send_output(held)
        try:
            for blob in held.blobs:
                await self._put(blob)
            held.blobs = ()
            if held.payload and held.result is not None:
                held.result = replace(held.result, payload_sha256=await self._put(held.payload))
                held.payload = b""
        except CallFailed as error:
            held.blobs, held.payload = (), b""
            if held.result is not None:
                held.result = _in_place_of(held.result, f"the dispatcher refused a blob of its result: {error}")

    async def _put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        await self._client.put_blob(digest, data)
        return digest

    async def _send_output(self, held: Held) -> None:
        if not held.output.used:
            return
        async with self._sending:
            while pieces := held.output.take(OUTPUT_REQUEST_BYTES):
                chunks = [
                    OutputChunk(held.grant.task, held.grant.attempt, piece.stream, piece.offset, bytes(piece.data))
                    for piece in pieces
                ]
                try:
                    await self._client.tell("/v1/output", OutputRequest(tuple(chunks)))
                except CallFailed as error:  # it goes on: the result will have the end of what it wrote
                    log.warning("output is not kept any more", task=held.grant.task, error=str(error))
                    held.output.end()


def fitting(results: list[TaskResult]) -> list[TaskResult]:
    """As many of them, from the first on and at least one, as surely fit into one request."""
    size = 0
    for count, result in enumerate(results):
        # JSON at its worst: a quote in the payload takes two bytes, a control character in a tail takes six.
        size += 2 * len(result.payload) + 6 * (len(result.stdout) + len(result.stderr) + len(result.message))
        if size > MAX_REQUEST_BYTES and count:
            return results[:count]
    return results


def _in_place_of(result: TaskResult, message: str) -> TaskResult:
    return TaskResult(
        task=result.task,
        attempt=result.attempt,
        status="refused",
        reason="ResultRefused",
        message=message,
        exit_code=result.exit_code,
        duration_seconds=result.duration_seconds,
    )
