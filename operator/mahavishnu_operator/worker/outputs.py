"""Output on its way: pieces of two streams, joined while they wait, within a bound.

The pressure: a command may flush after each line, and a dispatcher may be away for minutes. What must stay true:
pieces of one stream stay in order and without a gap; once a stream is over the bound it ends there, since what
stands behind a gap cannot be read.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

StreamName = Literal["stdout", "stderr"]
PIECE_BYTES = 65_536


@dataclass(slots=True)
class Piece:
    """Bytes of a stream from `offset`."""

    stream: StreamName
    offset: int
    data: bytearray = field(default_factory=bytearray)


class OutputBuffer:
    """Pieces that wait. `limit_bytes` bounds what waits, of both streams together."""

    def __init__(self, *, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._waiting: deque[Piece] = deque()
        self._last: dict[StreamName, Piece] = {}
        self._ended: set[StreamName] = set()
        self.size = 0
        self.used = False  # something was ever added

    def add(self, stream: StreamName, offset: int, data: bytes) -> bool:
        """Keep this piece; False when its stream has ended here for lack of room."""
        self.used = True
        if stream in self._ended:
            return False
        if self.size + len(data) > self._limit_bytes:
            self._ended.add(stream)
            return False
        last = self._last.get(stream)
        if last is None or len(last.data) >= PIECE_BYTES or last.offset + len(last.data) != offset:
            last = self._last[stream] = Piece(stream, offset)
            self._waiting.append(last)
        last.data += data
        self.size += len(data)
        return True

    def take(self, most_bytes: int) -> list[Piece]:
        """The oldest pieces, at least one if any waits, no more than about `most_bytes`."""
        taken: list[Piece] = []
        size = 0
        while self._waiting and (not taken or size + len(self._waiting[0].data) <= most_bytes):
            piece = self._waiting.popleft()
            if self._last.get(piece.stream) is piece:
                del self._last[piece.stream]
            size += len(piece.data)
            taken.append(piece)
        self.size -= size
        return taken

    def end(self) -> None:
        """Drop what waits and take nothing more."""
        self._waiting.clear()
        self._last.clear()
        self._ended = {"stdout", "stderr"}
        self.size = 0
