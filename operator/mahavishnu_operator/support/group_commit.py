"""Group commit: many callers, one writer thread, one commit for all that are waiting.

The pressure: a write is only done when it is on disk, and a flush for each of thousands of writes a second would be
the speed limit of everything. So callers hand in functions, and one thread runs all that are waiting in one
transaction. What must stay true: a caller hears of success only after the commit; the event loop is never blocked.
Which database runs the group is not known here.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from .errors import MahavishnuError

T = TypeVar("T")

MAX_GROUP = 512  # works in one commit: bounds how long the first of them waits


class Rows(Protocol):
    """What a statement answered. `rowcount`: rows that it changed, of all its runs together."""

    @property
    def rowcount(self) -> int:
        """Rows changed."""
        ...

    def fetchone(self) -> Any:
        """The next row as a tuple, None after the last."""
        ...

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        ...

    def __iter__(self) -> Iterator[Any]: ...


class Session(Protocol):
    """A database connection inside a transaction; `?` stands for a parameter. sqlite3.Connection is one."""

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Rows:
        """Run one statement."""
        ...

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Rows:
        """Run one statement for each row of parameters."""
        ...


class DatabaseFull(MahavishnuError):
    """The disk is full or refused the write: nothing of it was stored."""

    reason = "StoreFull"


@dataclass(slots=True)
class Work:
    """One caller's function, and what became of it."""

    run: Callable[[Any], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    value: Any = None
    error: BaseException | None = None


class GroupWriter:
    """Runs works in order on a thread of its own.

    `commit_group` runs a group in one transaction, sets value or error of each work, and raises nothing.
    """

    def __init__(self, commit_group: Callable[[list[Work]], None], *, name: str) -> None:
        self._commit_group = commit_group
        self._works: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"{name}-writer", daemon=True)
        self._thread.start()

    async def write(self, work: Callable[[Any], T]) -> T:
        """What `work` answered, once it is on disk. Its exceptions are raised here.

        A caller that is cancelled while it waits does not undo its work.
        """
        loop = asyncio.get_running_loop()
        item = Work(work, loop, loop.create_future())
        self._works.put(item)
        return await item.future  # type: ignore[no-any-return]

    def end(self) -> None:
        """Take no more after what was handed in."""
        self._works.put(None)

    def join(self) -> None:
        """Wait, on another thread, until all that was handed in is done."""
        self._thread.join()

    def _run(self) -> None:
        while (first := self._works.get()) is not None:
            group, last = [first], False
            while len(group) < MAX_GROUP and not self._works.empty():
                item = self._works.get()
                if item is None:
                    last = True
                    break
                group.append(item)
            self._commit_group(group)
            for loop in {item.loop for item in group}:
                finished = [item for item in group if item.loop is loop]
                with suppress(RuntimeError):  # a closed loop has nobody left to tell
                    loop.call_soon_threadsafe(_resolve, finished)
            if last:
                return


def _resolve(finished: list[Work]) -> None:
    for item in finished:
        if item.future.done():
            continue
        if isinstance(item.error, StopIteration):  # a future refuses to carry it
            item.future.set_exception(RuntimeError("a database work ended with StopIteration"))
        elif item.error is not None:
            item.future.set_exception(item.error)
        else:
            item.future.set_result(item.value)
