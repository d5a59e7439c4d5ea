"""Waiting for a ScanJob to end, without asking again and again: whoever waits is told of every change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mahavishnu_operator.api.reasons import JobPhase
from mahavishnu_operator.dispatch.protocol import Dispatch, JobProgress
from mahavishnu_operator.resources.protocol import SCAN_JOB, Key, Obj, Resources
from mahavishnu_operator.support.errors import NotFound

from .objects import Objects

ShowProgress = Callable[[JobProgress], None]


class News:
    """Wakes those who wait for a key."""

    def __init__(self) -> None:
        self._waiting: dict[Key, set[asyncio.Event]] = {}

    def tell(self, key: Key) -> None:
        """Something about that key changed."""
        for event in self._waiting.get(key, ()):
            event.set()

    @contextmanager
    def of(self, key: Key) -> Iterator[asyncio.Event]:
        """An event that is set at every change from now on."""
        event = asyncio.Event()
        self._waiting.setdefault(key, set()).add(event)
        try:
            yield event
        finally:
            self._waiting[key].discard(event)
            if not self._waiting[key]:
                del self._waiting[key]


async def wait_terminal(
    key: Key, *, news: News, resources: Resources, jobs: Objects, dispatch: Dispatch, on_progress: ShowProgress | None
) -> Obj:
    """The ScanJob once it has ended. NotFound when it does not exist, or is deleted meanwhile."""
    with news.of(key) as changed:
        obj = await resources.get(SCAN_JOB, key)
        uid, shown = obj["metadata"]["uid"], None
        while not JobPhase((obj.get("status") or {}).get("phase") or JobPhase.PENDING).terminal:
            progress = dispatch.progress(uid)
            if on_progress is not None and progress is not None and progress != shown:
                on_progress(progress)
                shown = progress
            await changed.wait()
            changed.clear()
            obj = jobs.get(key) or await resources.get(SCAN_JOB, key)
            if obj["metadata"]["uid"] != uid:
                raise NotFound(f"ScanJob {key} was deleted while it was waited for; another one has its name now")
        return obj
