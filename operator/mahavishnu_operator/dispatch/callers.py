"""Whether a caller that waits is still there.

The pressure: a lease granted to a connection that is closed is a task that nobody runs until its deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any


class Caller:
    """`hang_up` is awaited, at the earliest when `gone` is first asked for, and returns when the caller left."""

    def __init__(self, hang_up: Callable[[], Awaitable[Any]]) -> None:
        self._hang_up = hang_up
        self._gone: asyncio.Future[Any] | None = None

    def gone(self) -> asyncio.Future[Any]:
        """Done when the caller hung up. Watching costs, so it begins only when somebody waits."""
        if self._gone is None:
            self._gone = asyncio.ensure_future(self._hang_up())
        return self._gone

    @property
    def left(self) -> bool:
        """The caller is known to have hung up."""
        return self._gone is not None and self._gone.done()

    def dismiss(self) -> None:
        """Let it count as gone: the server ends, and what waits for this caller shall end."""
        if self._gone is not None:
            self._gone.cancel()
        self._gone = asyncio.get_running_loop().create_future()
        self._gone.set_result(None)

    def close(self) -> None:
        """Watch no more."""
        if self._gone is not None:
            self._gone.cancel()
