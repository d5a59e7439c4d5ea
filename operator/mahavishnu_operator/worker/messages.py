"""What agent and runner say to each other: frames of four length bytes and MessagePack.

The runner never sees the token, the server or another task. What must stay true: a frame has a bound, and
a frame that cannot be decoded ends the runner: nothing it says is trusted further than its type.
"""

from __future__ import annotations

import asyncio

import msgspec
from msgspec import Struct

from mahavishnu_operator.api.wire import MAX_BLOB_BYTES, CommandTask, PlanTask, ResultStatus, ScanTask

from .outputs import StreamName

MAX_FRAME_BYTES = MAX_BLOB_BYTES + 1024 * 1024
_LENGTH_BYTES = 4


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
    """Run this. `files` is the blob that a scan names; `scratch` an empty folder that the runner removes.

    `place` is set where the task has a source; `git_ca`: certificates (PEM) that prove git servers, instead of the
    machine's.
    """

    spec: CommandTask | PlanTask | ScanTask
    timeout_seconds: float
    scratch: str
    files: bytes = b""
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
    """Stop what runs; a Done follows."""


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


Request = Start | Cancel | Piece
Reply = Output | Blob | Done | Need | Prepared


def frame(message: Request | Reply) -> bytes:
    """The bytes of one message."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


async def _read_frame(reader: asyncio.StreamReader) -> bytes | None:
    try:
        size = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
        if size > MAX_FRAME_BYTES:
            raise ValueError(f"a frame of {size} bytes is over the bound of {MAX_FRAME_BYTES}")
        return await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request; None when the agent has gone."""
    body = await _read_frame(reader)
    return None if body is None else msgspec.msgpack.decode(body, type=Request)


async def read_reply(reader: asyncio.StreamReader) -> Reply | None:
    """The next reply; None when the runner has gone. ValueError (msgspec's too) when it is not one."""
    body = await _read_frame(reader)
    return None if body is None else msgspec.msgpack.decode(body, type=Reply)
