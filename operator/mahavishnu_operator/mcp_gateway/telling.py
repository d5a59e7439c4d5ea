"""Progress of one call, in words, for as long as it lasts.

The pressure: clients give up on a call that says nothing for a minute, and people wonder. What must stay true: each
notice of a call has a greater number than the one before, as the protocol wants it, whoever of the call speaks; a call
that waits says so again and again; who asked for no progress costs nothing on the wire.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Annotated

from fastmcp import Context
from fastmcp.dependencies import Depends
from fastmcp.server.dependencies import get_context

from mahavishnu_operator.resources.protocol import Obj

from .shapes import sentence

BEAT_SECONDS = 10.0  # between two notices, where nothing changes


class Telling:
    """Who speaks for one call: each change is one step more."""

    def __init__(self, context: Context, *, beat: float = BEAT_SECONDS) -> None:
        self._context, self._beat = context, beat
        self._steps, self._said, self._speaking = 0, "", asyncio.Lock()

    async def say(self, words: str) -> None:
        """Tell the caller, unless it was the last thing said."""
        if words != self._said:
            self._said = words
            await self._send(words)

    async def of_pool(self, obj: Obj) -> None:
        """How a pool stands."""
        status = obj.get("status") or {}
        ready, busy, queued = (int(status.get(name, 0)) for name in ("ready", "busy", "pendingTasks"))
        await self.say(f"{ready} workers ready, {busy} busy, {queued} tasks waiting")

    async def of_job(self, obj: Obj) -> None:
        """How a job stands."""
        status = obj.get("status") or {}
        tasks = status.get("tasks") or {}
        done = sum(int(tasks.get(name, 0)) for name in ("succeeded", "failed", "cached", "cancelled"))
        phase = str(status.get("phase") or "Pending").lower()
        await self.say(f"{phase}: {done} of {tasks.get('total', 0)} tasks done, {tasks.get('running', 0)} running")

    async def beat(self) -> None:
        """Say that it goes on, until cancelled."""
        begun = heard = asyncio.get_running_loop().time()
        steps = self._steps
        while True:
            await asyncio.sleep(heard + self._beat - asyncio.get_running_loop().time())
            heard = asyncio.get_running_loop().time()
            if steps == self._steps:
                await self._send(f"{self._said or 'waiting'}; {heard - begun:.0f} s")
            steps = self._steps

    async def _send(self, words: str) -> None:
        async with self._speaking:
            self._steps += 1
            await self._context.report_progress(self._steps, None, sentence(words))


@asynccontextmanager
async def _speaking() -> AsyncIterator[Telling]:
    telling = Telling(get_context())
    beating = asyncio.create_task(telling.beat())
    try:
        yield telling
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating


Progress = Annotated[Telling, Depends(_speaking)]  # a parameter that no caller sees
