"""Waiting for an object to come to a state, for many callers at once over one watch of a kind and namespace.

The pressure: an agent fans out hundreds of calls, each of which waits for a job of its own; a watch for each would send
every change hundreds of times. What must stay true: an older state than the caller has seen is never answered, as a
watch that is behind would; a deletion is believed only when the server was asked; a server that is silent is asked
again, and after `patience` seconds the waiting caller is told so; what a shared watch brings is shown to those who may
watch it now.
"""

from __future__ import annotations

import asyncio
import copy
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress

from mahavishnu_operator.resources.cache import Reflector, is_older
from mahavishnu_operator.resources.protocol import Key, Kind, Obj, Resources, Unreachable
from mahavishnu_operator.support.errors import NotFound

PATIENCE_SECONDS = 120.0
LOOK_SECONDS = 15.0  # between two looks past the watch

Told = Callable[[Obj], Awaitable[None]]
MayWatch = Callable[[Kind, str], Awaitable[None]]  # raises for whoever may not watch a kind in that namespace


async def _may(_kind: Kind, _namespace: str) -> None:
    """Whoever has the client has its rights."""


class Following:
    """The watches of one client, each begun when it is first needed. Close it in the end."""

    def __init__(self, resources: Resources, *, patience: float = PATIENCE_SECONDS) -> None:
        self._resources = self._watched = resources
        self._patience = patience
        self._may_watch: MayWatch = _may
        self._watches: dict[tuple[str, str], _Watch] = {}

    def seen_by(self, resources: Resources, may_watch: MayWatch) -> Following:
        """The same watches for a caller of their own rights, who reads by those resources."""
        theirs = copy.copy(self)
        theirs._resources, theirs._may_watch = resources, may_watch
        return theirs

    async def close(self) -> None:
        """End all watches; whoever still waits gets no answer."""
        watches = list(self._watches.values())
        self._watches.clear()
        for watch in watches:
            watch.running.cancel()
        for watch in watches:
            with suppress(asyncio.CancelledError):
                await watch.running

    async def until(
        self, kind: Kind, obj: Obj, reached: Callable[[Obj], bool], *, timeout: float, told: Told | None = None
    ) -> Obj:
        """The object once `reached` is true of it, or as it stands after `timeout` seconds; `told`: each change.

        NotFound: it was deleted, or another one has its name now. Unreachable: the server has been silent for long.
        """
        if reached(obj):
            return obj
        key, uid = Key.of(obj), obj["metadata"]["uid"]
        await self._may_watch(kind, key.namespace)
        watch = self._watch(kind, key.namespace)
        loop = asyncio.get_running_loop()
        deadline, heard = loop.time() + timeout, loop.time()
        with watch.listening(key) as changed:
            found = watch.reflector.store.get(key)  # what comes from now on is told
            while True:
                if found is not None and found["metadata"]["uid"] != uid and not is_older(found, obj):
                    raise NotFound(f"{kind.singular} {key} was deleted; another one has its name now")
                if found is not None and _version(found) != _version(obj) and not is_older(found, obj):
                    obj = found
                    if told is not None:
                        await told(obj)
                if reached(obj) or loop.time() >= deadline:
                    return obj
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, min(LOOK_SECONDS, deadline - loop.time()))):
                        await changed.wait()
                found = watch.reflector.store.get(key) if changed.is_set() else None
                changed.clear()
                try:
                    await self._may_watch(kind, key.namespace)
                    found = found or await self._resources.get(kind, key)
                    heard = loop.time()
                except Unreachable:
                    found = None
                    if loop.time() - heard > self._patience:
                        raise

    def _watch(self, kind: Kind, namespace: str) -> _Watch:
        watch = self._watches.get((kind.kind, namespace))
        if watch is None or watch.running.done():
            watch = self._watches[kind.kind, namespace] = _Watch(self._watched, kind, namespace)
        return watch


def _version(obj: Obj) -> str:
    return str(obj["metadata"].get("resourceVersion"))


class _Watch:
    """One reflector and those who listen to it."""

    def __init__(self, resources: Resources, kind: Kind, namespace: str) -> None:
        self._listeners: dict[Key, set[asyncio.Event]] = defaultdict(set)
        self.reflector = Reflector(resources, kind, namespace=namespace, on_change=self._tell)
        self.running = asyncio.create_task(self.reflector.run())

    def listening(self, key: Key) -> _Listening:
        """An event, set whenever the object has changed."""
        return _Listening(self._listeners, key)

    def _tell(self, key: Key) -> None:
        for event in self._listeners.get(key, ()):
            event.set()


class _Listening:
    def __init__(self, listeners: dict[Key, set[asyncio.Event]], key: Key) -> None:
        self._listeners, self._key, self._event = listeners, key, asyncio.Event()

    def __enter__(self) -> asyncio.Event:
        self._listeners[self._key].add(self._event)
        return self._event

    def __exit__(self, *_: object) -> None:
        self._listeners[self._key].discard(self._event)
        if not self._listeners[self._key]:
            del self._listeners[self._key]
