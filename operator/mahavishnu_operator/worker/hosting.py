"""What an agent and the runner host of another container say to each other, over one Unix socket.

The pressure: the tools that the host starts are hostile and share its user and its file system, so nothing they can
open may lead to the agent. The agent listens only until one host has come; every later pipe is handed over as a file
descriptor on that one connection. What must stay true: a packet is a whole message, with the descriptors that belong
to it; descriptors are never inherited by a tool.
"""

from __future__ import annotations

import array
import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
from msgspec import Struct

T = TypeVar("T")

MAX_PACKET_BYTES = 16 * 1024
DESCRIPTORS = 2  # of a Begin: the runner's stdin and stdout


class Hello(Struct, frozen=True, tag="hello"):
    """Host: I am here, and tasks have their scratch folders below this one."""

    scratch: str


class Begin(Struct, frozen=True, tag="begin"):
    """Agent: start runner `number` with the two descriptors of this packet as stdin and stdout."""

    number: int


class Begun(Struct, frozen=True, tag="begun"):
    """Host: it runs, or `error` says why not."""

    number: int
    error: str = ""


class End(Struct, frozen=True, tag="end"):
    """Agent: kill runner `number` and all below it, and remove that folder if one is named."""

    number: int
    scratch: str = ""


class Ended(Struct, frozen=True, tag="ended"):
    """Host: it is dead, with this exit code; negative: by that signal."""

    number: int
    code: int


Order = Begin | End
Answer = Hello | Begun | Ended
ORDERS: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)
ANSWERS: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


class Channel:
    """Packets over one connected SOCK_SEQPACKET socket. One task may send and one receive at a time."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket = connection

    async def send(self, message: Order | Answer, descriptors: Sequence[int] = ()) -> None:
        """Send one message. ConnectionError when the other side has gone."""
        data = msgspec.msgpack.encode(message)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._socket.sendmsg([data], ancillary)
                return
            except BlockingIOError:
                await _ready(loop.add_writer, loop.remove_writer, self._socket.fileno())

    async def receive(self, decoder: msgspec.msgpack.Decoder[T]) -> tuple[T, list[int]] | None:
        """The next message and its descriptors, which the caller closes; None when the other side has gone.

        ValueError (msgspec's too) when it is not one.
        """
        loop = asyncio.get_running_loop()
        while True:
            try:
                data, descriptors, flags, _ = socket.recv_fds(
                    self._socket, MAX_PACKET_BYTES, DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
                )
                break
            except BlockingIOError:
                await _ready(loop.add_reader, loop.remove_reader, self._socket.fileno())
            except ConnectionError:
                return None
        if not data:
            return None
        try:
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise ValueError(f"a packet is over the bound of {MAX_PACKET_BYTES} bytes")
            return decoder.decode(data), descriptors
        except ValueError:
            close_all(descriptors)
            raise

    def close(self) -> None:
        """Let go of the socket: the other side sees the end."""
        self._socket.close()


def close_all(descriptors: Sequence[int]) -> None:
    """Close file descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)


async def _ready(add: Callable[..., None], remove: Callable[[int], object], descriptor: int) -> None:
    """Wait until a descriptor can be read, or written."""
    ready = asyncio.Event()
    add(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        remove(descriptor)
