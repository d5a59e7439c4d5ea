"""The newest changes in memory, shared by all who follow: most of them ask for what was written a moment ago.

The pressure: a turn on a thread and a copy of the object for every watch was most of what a change cost, and half of
what an object costs in memory. What must stay true: what is answered here is what the file would answer, so a change
that may be missing between two others ends what is known; nobody changes an object that was told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from mahavishnu_operator.resources.protocol import Key, Kind, Obj

from .tables import Change

MOST_CHANGES = 512
MOST_BYTES = 4 * 1024 * 1024  # of their texts


@dataclass(frozen=True, slots=True)
class Noted:
    """What one transaction changed: the newest versions before and after it, and the oldest that history reaches."""

    before: int
    after: int
    forgotten: int
    changes: Sequence[Change]


class Recent:
    """Changes of all kinds, oldest first. `note` what was committed, in order."""

    def __init__(self, *, most_changes: int = MOST_CHANGES, most_bytes: int = MOST_BYTES) -> None:
        self._most_changes, self._most_bytes = most_changes, most_bytes
        self._changes: deque[Change] = deque()
        self._latest: dict[tuple[str, Key], Change] = {}
        self._bytes = 0
        self._since, self._newest = 0, -1  # every change after the one and up to the other is here

    def note(self, noted: Noted) -> None:
        """Take in what was committed."""
        if noted.before != self._newest or noted.forgotten > noted.before:
            self._changes.clear()
            self._latest.clear()
            self._bytes, self._since = 0, max(self._newest, noted.after)
        else:
            for change in noted.changes:
                self._changes.append(change)
                self._latest[_place(change)] = change
                self._bytes += change.size
        self._newest = max(self._newest, noted.after)
        self._since = max(self._since, noted.forgotten)
        while len(self._changes) > self._most_changes or self._bytes > self._most_bytes:
            self._drop_oldest()

    def after(self, kind: Kind, namespace: str | None, version: int) -> tuple[int, list[Change]] | None:
        """The newest version of all, and the changes of a kind after one. None: the file knows."""
        if not self._since <= version <= self._newest:
            return None
        found: list[Change] = []
        for change in reversed(self._changes):
            if change.version <= version:
                break
            obj = change.object
            if obj["kind"] == kind.kind and namespace in (None, obj["metadata"]["namespace"]):
                found.append(change)
        found.reverse()
        return self._newest, found

    def latest(self, kind: Kind, key: Key) -> Change | None:
        """The last change of that object. None: the file knows."""
        return self._latest.get((kind.kind, key))

    def _drop_oldest(self) -> None:
        change = self._changes.popleft()
        self._bytes -= change.size
        self._since = max(self._since, change.version)
        if self._latest.get(place := _place(change)) is change:
            del self._latest[place]


def _place(change: Change) -> tuple[str, Key]:
    obj: Obj = change.object
    return str(obj["kind"]), Key.of(obj)
