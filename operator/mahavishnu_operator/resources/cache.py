"""Reflector: one kind kept in memory, by a list and a watch, so that reconcilers read without asking.

The pressure: a watch breaks in every way there is (410, 503, silence, a cut line), and what was deleted
while it was broken is in no later event. So after each gap a complete list is compared with what is held,
and what is missing counts as deleted. A server that is down is asked again after a jittered delay that
doubles to 30 s.

What must stay true: no delete is ever lost; `on_change` is called after `store` has changed, once for each
key whose object is another one than before; a list that was under way never undoes an event that came
meanwhile; an event that is older than what is held changes nothing (kopf keeps the events of one UID in order,
not those of an object and its successor of the same name).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from types import MappingProxyType

import structlog

from mahavishnu_operator.support.errors import MahavishnuError

from .protocol import EventType, Expired, Key, Kind, Obj, Silent, Source, WatchEvent

log = structlog.get_logger(__name__)

FIRST_DELAY = 0.2
MAX_DELAY = 30.0


class Reflector:
    """The objects of one kind by key, in one namespace or in all.

    `run()` keeps it current by itself; whoever has a watch of their own calls `observe` and `resync` instead.
    `synced` is set once the first complete list is in.
    """

    def __init__(
        self,
        resources: Source,
        kind: Kind,
        *,
        on_change: Callable[[Key], None],
        namespace: str | None = None,
        max_delay: float = MAX_DELAY,
    ) -> None:
        self._resources = resources
        self._kind = kind
        self._namespace = namespace
        self._on_change = on_change
        self._max_delay = max_delay
        self._objects: dict[Key, Obj] = {}
        self._observed_while_listing: list[set[Key]] = []
        self._version: str | None = None  # where the next watch begins; None: list first
        self._progressed = False
        self.store: Mapping[Key, Obj] = MappingProxyType(self._objects)
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """List and watch until cancelled. Errors are logged and tried again; none ends it but a defect of ours."""
        failures = 0
        while True:
            self._progressed = failed = False
            try:
                if self._version is None:
                    self._version = await self.resync()
                await self._follow(self._version)
                failed = not self._progressed  # an end at once is no answer to ask again at once
            except Expired:
                self._version = None
                failed = not self._progressed
            except Silent:
                failures = 0  # it was long enough: opened anew at once
            except MahavishnuError as error:
                failed = True
                log.warning("cannot follow the objects of a kind", kind=self._kind.plural, error=str(error))
            failures = (0 if self._progressed else failures) + failed
            if failed:
                await asyncio.sleep(backoff(failures - 1, longest=self._max_delay))

    async def resync(self) -> str:
        """Compare with a complete list, now; answers its version. Raises what `list` raises."""
        observed: set[Key] = set()
        self._observed_while_listing.append(observed)
        try:
            listing = await self._resources.list(self._kind, namespace=self._namespace)
        finally:
            self._observed_while_listing.remove(observed)
        listed = {Key.of(obj): obj for obj in listing.items}
        changed = [key for key, obj in listed.items() if key not in observed and _differs(self._objects.get(key), obj)]
        gone = [key for key in self._objects if key not in listed and key not in observed]
        for key in changed:
            self._objects[key] = listed[key]
        for key in gone:
            del self._objects[key]
        self.synced.set()
        self._tell((*changed, *gone))
        return listing.resource_version

    def observe(self, event: WatchEvent) -> None:
        """Take in one event of a watch."""
        if event.type is EventType.BOOKMARK:
            return
        key = Key.of(event.object)
        if is_older(event.object, self._objects.get(key)):
            return
        for observed in self._observed_while_listing:
            observed.add(key)
        if event.type is EventType.DELETED:
            if self._objects.pop(key, None) is not None:
                self._tell((key,))
        elif _differs(self._objects.get(key), event.object):
            self._objects[key] = event.object
            self._tell((key,))

    async def _follow(self, since: str) -> None:
        """Follow one watch to its end."""
        stream = self._resources.watch(self._kind, namespace=self._namespace, since=since)
        try:
            async for event in stream:
                self._progressed = True
                self._version = event.object["metadata"]["resourceVersion"]
                self.observe(event)
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()

    def _tell(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._on_change(key)


def backoff(failures: int, *, longest: float, first: float = FIRST_DELAY) -> float:
    """Seconds to wait after so many earlier failures: doubling, and jittered down to half."""
    delay: float = min(longest, first * 2 ** min(failures, 16))
    return delay * random.uniform(0.5, 1.0)  # noqa: S311 (no secret)


def is_older(obj: Obj, held: Obj | None) -> bool:
    """Whether an object is of an earlier version than the one held. Versions of one kind are comparable numbers."""
    if held is None:
        return False
    version, known = str(obj["metadata"].get("resourceVersion")), str(held["metadata"].get("resourceVersion"))
    return version.isdecimal() and known.isdecimal() and int(version) < int(known)


def _differs(held: Obj | None, obj: Obj) -> bool:
    if held is None:
        return True
    old, new = held["metadata"], obj["metadata"]
    return bool((old.get("uid"), old.get("resourceVersion")) != (new.get("uid"), new.get("resourceVersion")))
