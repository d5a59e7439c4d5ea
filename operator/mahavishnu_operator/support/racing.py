"""Wait for whichever of several things comes first.

What must stay true: what lost is cancelled and has ended when the answer is given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


async def first(*works: Coroutine[object, object, object]) -> int:
    """Wait until one of them ends; answers which, the lowest of several, or raises what it raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        ended = next(number for number, task in enumerate(tasks) if task.done())
        tasks[ended].result()
        return ended
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
