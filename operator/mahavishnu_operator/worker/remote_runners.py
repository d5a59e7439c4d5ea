"""Runners in another container of this Pod, started by its runner host.

What must stay true: the agent listens only until its host has come, so that nothing a tool does later reaches it; a
host that has gone took all its runners with it (the kernel kills what is left in a container whose first process
ended), and no other takes its place: the worker leaves.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import structlog

from mahavishnu_operator.support.errors import InvalidInput

from .hosting import ANSWERS, Answer, Begin, Begun, Channel, End, Ended, Hello, Order, close_all
from .messages import Frames
from .runners import Runner

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class RemoteRunner:
    """A runner by the number that its host knows it under."""

    number: int
    answers: Frames
    requests: asyncio.StreamWriter

    @property
    def has_ended(self) -> bool:
        """Its pipe has closed."""
        return self.answers.has_ended


class RemoteRunners:
    """A RunnerSource; `lost` is set when the host has gone."""

    def __init__(self, channel: Channel, scratch: Path) -> None:
        self.scratch = scratch
        self.lost = asyncio.Event()
        self._channel = channel
        self._sending = asyncio.Lock()
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._count = 0
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def accept(cls, path: Path) -> Self:
        """Listen at that path until one host has come. InvalidInput: there can be no socket, or something else came."""
        with _listening_at(path) as listener:
            connection, _ = await asyncio.get_running_loop().sock_accept(listener)
        channel = Channel(connection)
        try:
            received = await channel.receive(ANSWERS)
            if received is None or not isinstance(received[0], Hello):
                raise InvalidInput("the runner host did not say where runners have their folders")
        except BaseException:
            channel.close()
            raise
        return cls(channel, Path(received[0].scratch))

    async def start(self) -> RemoteRunner:
        """Have a runner started. OSError."""
        self._count += 1
        number = self._count
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        try:
            answer = await self._ask(Begin(number), (theirs_in, theirs_out))
            if not isinstance(answer, Begun) or answer.error:
                raise OSError(
                    f"the runner host could not start it: {answer.error if isinstance(answer, Begun) else answer}"
                )
        except BaseException:
            close_all((ours_in, ours_out))
            raise
        finally:
            close_all((theirs_in, theirs_out))
        return RemoteRunner(number, Frames(ours_in), await _writer(ours_out))

    async def end(self, runner: Runner, *, scratch: Path | None = None) -> int:
        """Have it killed; what died with its host ended by SIGKILL."""
        if not isinstance(runner, RemoteRunner):
            raise TypeError(f"{runner!r} was not started here")
        runner.requests.close()
        runner.answers.close()
        try:
            answer = await self._ask(End(runner.number, str(scratch or "")))
        except ConnectionError:
            self.lost.set()
            return -signal.SIGKILL
        return answer.code if isinstance(answer, Ended) else -signal.SIGKILL

    async def close(self) -> None:
        """Let go of the host, which ends with all that is below it."""
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        self._channel.close()

    async def _ask(self, order: Order, descriptors: tuple[int, ...] = ()) -> Answer:
        if self.lost.is_set():
            raise ConnectionResetError("the runner host has gone")
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[order.number] = answered
        try:
            async with self._sending:
                await self._channel.send(order, descriptors)
            return await answered
        finally:
            del self._waiting[order.number]

    async def _listen(self) -> None:
        try:
            while (received := await self._channel.receive(ANSWERS)) is not None:
                message, descriptors = received
                close_all(descriptors)
                answered = None if isinstance(message, Hello) else self._waiting.get(message.number)
                if answered is not None and not answered.done():
                    answered.set_result(message)
        except ValueError as error:
            log.error("the runner host says what no host says", error=str(error))
        finally:
            self.lost.set()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(ConnectionResetError("the runner host has gone"))


@contextmanager
def _listening_at(path: Path) -> Iterator[socket.socket]:
    """A socket for one connection, whose path goes with it."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) as listener:
        try:
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            path.chmod(0o600)
            listener.listen(1)
            listener.setblocking(False)
        except OSError as error:
            raise InvalidInput(f"no socket can be made at {path}: {error.strerror or error}") from None
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


async def _writer(descriptor: int) -> asyncio.StreamWriter:
    """The writing end of a pipe as a stream, closed with it."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(descriptor, "wb", buffering=0)
    )
    return asyncio.StreamWriter(transport, protocol, None, loop)
