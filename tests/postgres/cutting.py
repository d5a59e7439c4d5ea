"""A way to the server that loses the answer to a COMMIT: the client cannot know whether it was done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Self


class CuttingProxy:
    """`async with CuttingProxy(port) as proxy`: connect to `proxy.port`. Set `lose` to lose the next COMMIT.

    `lose` "answer": the server commits, the client never hears. "request": the server never hears of it. With
    `for_good` the way is closed after that.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self.lose = ""
        self.lost = 0
        self.for_good = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.get_running_loop().create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with _closing(writer):
            if self.lost and self.for_good:
                return
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
            async with _closing(up_writer):
                answers = asyncio.ensure_future(_copy(up_reader, writer))
                try:
                    await self._pass_on(reader, up_reader, up_writer, answers)
                finally:
                    answers.cancel()
                    await asyncio.wait({answers})

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
        answers: asyncio.Future[None],
    ) -> None:
        while data := await reader.read(65536):
            lose, self.lose = (self.lose, "") if b"COMMIT" in data else ("", self.lose)
            if lose:
                answers.cancel()
                await asyncio.wait({answers})
                if lose == "answer":
                    up_writer.write(data)
                    await up_reader.read(65536)  # the server's answer: it has committed
                self.lost += 1
                return
            up_writer.write(data)
            await up_writer.drain()


@asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    """Closed at the end, and gone when left: no socket outlives the test."""
    try:
        yield
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):  # one of the two sides has gone: so goes the connection
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
