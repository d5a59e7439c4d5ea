"""What agent and runner say to each other: frames of four length bytes and MessagePack.

The runner never sees the token, the server or another worker's task. Several short commands may be on their way to it
(docs/adr/0019): it begins them one after another, in order, and answers in that order. What must stay true: a frame
has a bound, and a frame that cannot be decoded ends the runner: nothing it says is trusted further than its type.
"""

from __future__ import annotations

import asyncio
import os
import select

import msgspec
from msgspec import Struct

from mahavishnu_operator.api.wire import MAX_BLOB_BYTES, CommandTask, PlanTask, ResultStatus, ScanTask

from .outputs import StreamName

MAX_FRAME_BYTES = MAX_BLOB_BYTES + 1024 * 1024
_LENGTH_BYTES = 4
_READ_BYTES = 65_536


class Place(Struct, frozen=True):
    """Where the files of a task's source are to be (checkouts.py).

    `ready`: the folder that an earlier task of the same job made, to be used if its seal is still `seal`; else `fresh`
    is to be made, which is not there. `drop`: folders that nobody uses any more.
    """

    fresh: str
    ready: str = ""
    seal: str = ""
    drop: tuple[str, ...] = ()


class Start(Struct, frozen=True, tag="start"):
    """Run this when what came before has ended.

    `files` is the blob that a scan names; `scratch` a folder that the runner makes and removes; `number` names it.
    It may be begun within `good_seconds`: its lease may be over then, for all that the runner knows.

    `place` is set where the task has a source; `git_ca`: certificates (PEM) that prove git servers, instead of the
    machine's.
    """

    spec: CommandTask | PlanTask | ScanTask
    timeout_seconds: float
    scratch: str
    files: bytes = b""
    number: int = 0
    good_seconds: float = 3600.0
    place: Place | None = None
    git_ca: str = ""


class Piece(Struct, frozen=True, tag="piece"):
    """The next piece of the archive, on a Need. `first`: what came before does not count; `last`: there is no more.

    `error`: it cannot be had, and why.
    """

    data: bytes = b""
    first: bool = False
    last: bool = False
    error: str = ""


class Cancel(Struct, frozen=True, tag="cancel"):
    """Stop that one, or do not begin it; a Done follows."""

    number: int = 0


class Withdraw(Struct, frozen=True, tag="withdraw"):
    """Forget what was not begun; a Withdrawn follows."""


class Output(Struct, frozen=True, tag="output"):
    """A piece of what the running command wrote; `offset` counts bytes from the start of its stream."""

    stream: StreamName
    offset: int
    data: bytes


class Blob(Struct, frozen=True, tag="blob"):
    """Bytes to be stored before the result that names them."""

    data: bytes


class Done(Struct, frozen=True, tag="done"):
    """How it ended: the fields of a wire.TaskResult that a runner can know.

    `last`: this runner ends now, since a thread of it cannot be stopped: use another.
    """

    status: ResultStatus
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    duration_seconds: float = 0.0
    payload: str = ""
    stdout: str = ""
    stderr: str = ""
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    last: bool = False


class Need(Struct, frozen=True, tag="need"):
    """Send the next piece of the archive that the task names."""


class Prepared(Struct, frozen=True, tag="prepared"):
    """The files are in `folder`: `commit` in full, if they are one's; `size` in bytes. They are used from now on."""

    folder: str
    seal: str
    size: int
    commit: str = ""


class Withdrawn(Struct, frozen=True, tag="withdrawn"):
    """The last `count` that were asked for are forgotten: they were not begun, and have no Done."""

    count: int


Request = Start | Cancel | Withdraw | Piece
Reply = Output | Blob | Done | Withdrawn | Need | Prepared
_REQUESTS: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_REPLIES: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)
_ENCODER = msgspec.msgpack.Encoder()


def frame(message: Request | Reply) -> bytes:
    """The bytes of one message."""
    body = _ENCODER.encode(message)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


class Frames:
    """The reading end of a pipe, which it owns. It is read when somebody asks: what is not asked for stays there."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._buffer = bytearray()
        self._start = 0  # of what was not taken yet
        self._ended = False

    async def request(self) -> Request | None:
        """The next request; None when the agent has gone."""
        body = await self._next()
        return None if body is None else _REQUESTS.decode(body)

    async def reply(self) -> Reply | None:
        """The next reply; None when the runner has gone. ValueError (msgspec's too) when it is not one."""
        body = await self._next()
        return None if body is None else _REPLIES.decode(body)

    @property
    def has_frame(self) -> bool:
        """The next one can be had without waiting."""
        return self._frame_end() is not None

    @property
    def has_ended(self) -> bool:
        """Nobody can write to it any more, and nothing is left in it."""
        if not self._ended and len(self._buffer) == self._start:
            looking = select.poll()
            looking.register(self._descriptor, select.POLLIN)
            self._ended = any(not event & select.POLLIN for _, event in looking.poll(0))
        return self._ended

    def close(self) -> None:
        """Let go of the pipe."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._ended = True

    async def _next(self) -> bytearray | None:
        while (end := self._frame_end()) is None:
            if not await self._read():
                return None
        body = self._buffer[self._start + _LENGTH_BYTES : end]
        self._start = end
        return body

    def _frame_end(self) -> int | None:
        """Where the next frame ends, if it is here. ValueError when it is over the bound."""
        body = self._start + _LENGTH_BYTES
        if len(self._buffer) < body:
            return None
        size = int.from_bytes(self._buffer[self._start : body], "big")
        if size > MAX_FRAME_BYTES:
            raise ValueError(f"a frame of {size} bytes is over the bound of {MAX_FRAME_BYTES}")
        return body + size if len(self._buffer) >= body + size else None

    async def _read(self) -> bool:
        """Take what is in the pipe, once there is something; False at its end."""
        while not self._ended:
            try:
                data = os.read(self._descriptor, _READ_BYTES)
            except BlockingIOError:
                await self._readable()
                continue
            del self._buffer[: self._start]
            self._start = 0
            self._buffer += data
            self._ended = not data
            return bool(data)
        return False

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._descriptor, _settle, readable)
        try:
            await readable
        finally:
            loop.remove_reader(self._descriptor)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
