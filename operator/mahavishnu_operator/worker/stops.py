"""What the signals to stop mean to an agent and to a runner host.

The pressure: a loop that closes gives each signal that it handled its deadly default back, so whoever says "stop"
twice made a death by signal of an end in peace; to block the signals is not enough, because any other thread of the
process still takes them. What must stay true: the loop never owns these handlers; once the work has ended the signals
are ignored, and nothing is started any more that could inherit that.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any

STOPS = (signal.SIGTERM, signal.SIGINT)


def on_stops(call: Callable[[], object]) -> None:
    """Let the running loop call that, at each signal to stop, instead of what it was told before."""
    loop = asyncio.get_running_loop()
    for number in STOPS:
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(call))


def run_to_its_end(work: Coroutine[Any, Any, int]) -> int:
    """Run a loop for the work; its exit code. One more signal to stop must not make a death of an end in peace."""
    return asyncio.run(_then_ignored(work))


async def _then_ignored(work: Coroutine[Any, Any, int]) -> int:
    try:
        return await work
    finally:
        for number in STOPS:
            signal.signal(number, signal.SIG_IGN)
