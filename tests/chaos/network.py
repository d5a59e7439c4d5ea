"""A network between workers and their dispatcher that can be cut, slow, half-open, or lose answers.

A proxy on loopback with an event loop and a thread of its own, so that it works while the test waits. Half-open means:
what is connected hears nothing more, what connects is accepted and never served; when that is over, such connections
are reset, as by a router that has forgotten them.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

SLOW_SECONDS = 0.15  # the most by which a piece of data is late, each way
PIECE_BYTES = 65_536


class _Way:
    """One connection through the proxy."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writers = [writer]
        self.frozen = False

    def abort(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class FaultyNetwork:
    """`with FaultyNetwork(target) as network`: connect to `network.port`. All methods may be called from any thread."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._ways: set[_Way] = set()
        self._slow = self._frozen = False
        self._losing = 0
        self._thread = threading.Thread(target=self._run, name="faulty-network", daemon=True)
        self._started: threading.Event = threading.Event()
        self.port = 0
        self.swallowed = b""  # what was sent into half-open connections

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._started.wait(30):
            raise TimeoutError("the proxy did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()

    # --- faults ------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Reset every connection."""
        self._do(self._abort_all)

    def lose_answers(self, number: int) -> None:
        """The next requests reach the server and are carried out; their answers are lost with their connections."""

        def begin() -> None:
            self._losing += number

        self._do(begin)

    def be_slow(self, yes: bool) -> None:
        """Whether each piece of data is late."""

        def begin() -> None:
            self._slow = yes

        self._do(begin)

    def be_half_open(self, yes: bool) -> None:
        """Whether connections hang without a word; at the end those that did are reset."""

        def begin() -> None:
            self._frozen = yes
            for way in list(self._ways):
                if yes:
                    way.frozen = True
                elif way.frozen:
                    way.abort()

        self._do(begin)

    def _do(self, what: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(what)

    def _abort_all(self) -> None:
        for way in list(self._ways):
            way.abort()

    # --- passing on --------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        self._serving: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        async with server:
            await self._ending.wait()
            server.close()
            self._abort_all()
            while self._serving:
                await asyncio.wait(self._serving)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = self._loop.create_task(self._accept(reader, writer))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        way = _Way(writer)
        way.frozen = self._frozen
        self._ways.add(way)
        try:
            with suppress(OSError):
                up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
                way.writers.append(up_writer)
                await asyncio.gather(
                    self._pass_on(way, reader, up_writer, answers=False),
                    self._pass_on(way, up_reader, writer, answers=True),
                )
        finally:
            self._ways.discard(way)
            way.abort()
            for each in way.writers:
                with suppress(OSError):
                    await each.wait_closed()

    async def _pass_on(
        self, way: _Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        while data := await reader.read(PIECE_BYTES):
            if self._slow:
                await asyncio.sleep(random.uniform(0, SLOW_SECONDS))
            if way.frozen:
                self.swallowed += data
                continue
            if answers and self._losing:
                self._losing -= 1
                break
            writer.write(data)
            await writer.drain()
        way.abort()
