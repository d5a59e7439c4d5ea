"""The objects of one kind as last seen, in all namespaces or in a few: reflectors, joined.

What must stay true: `get` answers what the latest event or list said; `synced` is set only once every namespace was
listed, so that what is missing then is really not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from mahavishnu_operator.resources.cache import Reflector
from mahavishnu_operator.resources.protocol import Key, Kind, Obj, Resources, WatchEvent

Change = Callable[[Key, Obj | None, Obj | None], None]


class Objects:
    """Objects by key and by UID. `on_change(key, before, after)` is called after each change.

    `namespaces` empty: all. Fed by `run`, or from outside by `observe` and `resync`.
    """

    def __init__(self, resources: Resources, kind: Kind, *, namespaces: Sequence[str] = (), on_change: Change) -> None:
        self.kind = kind
        self._on_change = on_change
        self._seen: dict[Key, Obj] = {}
        self._keys: dict[str, Key] = {}
        self._reflectors: dict[str | None, Reflector] = {}
        for namespace in namespaces or (None,):
            changed = partial(self._changed, namespace)
            self._reflectors[namespace] = Reflector(resources, kind, on_change=changed, namespace=namespace)

    def get(self, key: Key) -> Obj | None:
        """The object, or None."""
        return self._seen.get(key)

    def key_of(self, uid: str) -> Key | None:
        """Where the object with that UID is."""
        return self._keys.get(uid)

    def __iter__(self) -> Iterator[Obj]:
        return iter(list(self._seen.values()))

    def __len__(self) -> int:
        return len(self._seen)

    async def run(self) -> None:
        """List and watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for reflector in self._reflectors.values():
                group.create_task(reflector.run())

    async def resync(self) -> None:
        """Compare with complete lists, now. Raises Unreachable and what else `list` raises."""
        for reflector in self._reflectors.values():
            await reflector.resync()

    def observe(self, event: WatchEvent) -> None:
        """Take in one event of a watch that somebody else follows."""
        namespace = event.object["metadata"].get("namespace")
        reflector = self._reflectors.get(None) or self._reflectors.get(namespace)
        if reflector is not None:
            reflector.observe(event)

    async def synced(self) -> None:
        """Wait until every namespace was listed once."""
        for reflector in self._reflectors.values():
            await reflector.synced.wait()

    @property
    def is_synced(self) -> bool:
        """Whether every namespace was listed once."""
        return all(reflector.synced.is_set() for reflector in self._reflectors.values())

    def _changed(self, namespace: str | None, key: Key) -> None:
        before, after = self._seen.get(key), self._reflectors[namespace].store.get(key)
        if before is not None:
            self._keys.pop(before["metadata"]["uid"], None)
        if after is None:
            self._seen.pop(key, None)
        else:
            self._seen[key] = after
            self._keys[after["metadata"]["uid"]] = key
        self._on_change(key, before, after)
