"""Writes status: as seldom as may be, and never less than promised.

The pressure: thousands of objects whose counters move with every task would flood the API server, its watchers and
etcd; and a watch lags behind our own writes, so what it shows can be older than what we wrote. What must stay true:
nothing is written when nothing changed; a terminal status is written at once, anything else at most every
`interval` seconds, so that a job done within 2 s costs two writes, and one that may be over at once a single one; until
our own write comes back in the watch, what we wrote is the truth.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mahavishnu_operator.resources.protocol import Key, Kind, Obj, Resources
from mahavishnu_operator.support.errors import NotFound

INTERVAL_SECONDS = 2.0
FIRST_SECONDS = 0.25  # how long the first status of what may be over at once waits for its end


@dataclass(frozen=True, slots=True)
class _Written:
    status: dict[str, Any]
    version: str
    at: float  # of the monotonic clock


class StatusWriter:
    """One for each kind of object; remembers its last write of each object by UID."""

    def __init__(
        self,
        resources: Resources,
        kind: Kind,
        *,
        interval: float = INTERVAL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resources, self._kind, self._interval, self._clock = resources, kind, interval, clock
        self._written: dict[str, _Written] = {}
        self._first_at: dict[str, float] = {}  # when the first status that waits for an end is written at the latest

    def effective(self, obj: Obj) -> dict[str, Any]:
        """The status of the object, or what we wrote since if that has not come back in the watch yet."""
        return self._latest(obj)[0]

    def version(self, obj: Obj) -> str:
        """The version of the object that its effective status belongs to."""
        return self._latest(obj)[1]

    def _latest(self, obj: Obj) -> tuple[dict[str, Any], str]:
        """The effective status and the version of the object that it belongs to."""
        version = str(obj["metadata"].get("resourceVersion", ""))
        written = self._written.get(obj["metadata"]["uid"])
        if written is not None and not at_least(version, written.version):
            return written.status, written.version
        return obj.get("status") or {}, version

    def is_echo(self, obj: Obj) -> bool:
        """Whether the object is just what our last write of its status was answered with: it holds no news.

        That write was bound to the version that it was decided on, so nothing else has changed in between.
        """
        meta = obj["metadata"]
        written = self._written.get(meta["uid"])
        if written is None or written.version != str(meta.get("resourceVersion", "")):
            return False
        self._written[meta["uid"]] = replace(
            written, status=obj.get("status") or {}
        )  # one of the two is enough to keep
        return True

    def never_written(self, obj: Obj) -> bool:
        """Whether no operator has written its status yet: what is there are the defaults of its kind."""
        return "observedGeneration" not in self.effective(obj)

    async def write(
        self, obj: Obj, status: dict[str, Any], *, at_once: bool = False, may_end_soon: bool = False
    ) -> float | None:
        """Bring the object's status to `status`. Answers the seconds until it may be written, None when it is there.

        `may_end_soon`: a first status waits for FIRST_SECONDS, because the last one may be right behind it.

        The write is bound to the version that `status` was decided on: an object of the same name that was made
        since is another one, and must not get this one's end. Errors: Conflict and Unreachable, to be tried again.
        An object that is gone is no error.
        """
        uid = obj["metadata"]["uid"]
        old, version = self._latest(obj)
        patch = merge_patch(old, status)
        if not patch:
            return None
        begun = self._clock()
        wait = 0.0 if at_once else self._wait(uid, begun, first=may_end_soon and self.never_written(obj))
        if wait > 0:
            return wait
        try:
            stored = await self._resources.merge_status(self._kind, Key.of(obj), patch, version=version)
        except NotFound:
            self.forget(uid)
            return None
        self._first_at.pop(uid, None)
        if stored["metadata"]["uid"] == uid:
            version = stored["metadata"].get("resourceVersion", "")
            self._written[uid] = _Written(stored.get("status") or status, version, begun)
        return None

    def _wait(self, uid: str, now: float, *, first: bool) -> float:
        """Seconds until a status that is no end may be written."""
        if first:
            return self._first_at.setdefault(uid, now + FIRST_SECONDS) - now
        last = self._written.get(uid)
        return last.at + self._interval - now if last is not None else 0.0

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self._written.pop(uid, None)
        self._first_at.pop(uid, None)


def at_least(seen: str, written: str) -> bool:
    """Whether the version `seen` is `written` or newer. Versions compare as numbers where they are numbers."""
    if seen.isdecimal() and written.isdecimal():
        return int(seen) >= int(written)
    return seen == written


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON merge patch (RFC 7386) that turns `old` into `new`; empty when they are equal. Lists go whole."""
    patch: dict[str, Any] = {name: None for name in old if name not in new}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            nested = merge_patch(before, value)
            if nested:
                patch[name] = nested
        elif name not in old or before != value:
            patch[name] = value
    return patch
