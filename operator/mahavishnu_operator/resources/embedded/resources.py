"""Resources in this process: the protocol over objects.db, with watches woken by our own writes.

One process owns the file, so every change passes through `write`: it runs a script in one transaction, and
wakes the watches of what has changed when it is on disk. A watch that keeps up reads from memory, what is
further back from the file: a slow watcher costs nothing, and a version from before a restart is as good as
any other.

What must stay true: a watch yields each change once, in order, or raises Expired; a script's change wakes
the watches also when its caller was cancelled meanwhile; whoever was told of a write reads it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from pathlib import Path
from typing import Literal, TypeVar

from mahavishnu_operator.api.reasons import API_VERSION
from mahavishnu_operator.resources.protocol import KINDS, EventType, Expired, Key, Kind, Listing, Obj, WatchEvent
from mahavishnu_operator.resources.selectors import EVERYTHING, Selector, parse_labels
from mahavishnu_operator.support.database import Database
from mahavishnu_operator.support.errors import InvalidInput

from . import events, tables, writes
from .recent import Noted, Recent
from .writes import Options, Written

T = TypeVar("T")

BATCH = 256
BOOKMARK_SECONDS = 30.0


class EmbeddedResources:
    """resources.protocol.Resources on an SQLite file, which is made when it is missing.

    Raises Conflict when another process has the file open.
    """

    def __init__(self, path: Path, *, bookmark_seconds: float = BOOKMARK_SECONDS) -> None:
        self._db = Database(path, tables.MIGRATIONS)
        self._bookmark_seconds = bookmark_seconds
        self._recent = Recent()
        self._changed = {kind.kind: asyncio.Event() for kind in KINDS}
        self._closed = False

    async def close(self) -> None:
        """End the watches, finish the writes under way and let go of the file."""
        self._closed = True
        self._wake(self._changed)
        await self._db.close()

    async def list(self, kind: Kind, *, namespace: str | None = None, label_selector: str = "") -> Listing:
        """All objects of a kind and the version they were read at."""
        selector = parse_labels(label_selector)

        def script(conn: sqlite3.Connection) -> Listing:
            items = tables.find_all(conn, kind, namespace)
            chosen = tuple(o for o in items if selector.matches(o["metadata"].get("labels", {})))
            return Listing(chosen, str(tables.current_version(conn)))

        return await self.read(script)

    async def get(self, kind: Kind, key: Key) -> Obj:
        """One object. NotFound."""
        last = self._recent.latest(kind, key)
        if last is not None and last.type is not EventType.DELETED:
            return last.object
        return await self.read(partial(writes.get, kind=kind, key=key))

    async def create(self, kind: Kind, obj: Obj, *, dry_run: bool = False) -> Obj:
        """Store a new object. InvalidInput; Conflict when the name is taken."""
        script = partial(writes.create, kind=kind, obj=obj, options=Options())
        return (await self.commit(script, dry_run=dry_run)).object

    async def merge(self, kind: Kind, key: Key, patch: Obj) -> Obj:
        """JSON merge patch of everything but status."""
        return (await self.commit(partial(writes.merge, kind=kind, key=key, patch=patch, options=Options()))).object

    async def apply(
        self, kind: Kind, obj: Obj, *, field_manager: str, force: bool = False, dry_run: bool = False
    ) -> Obj:
        """Server-side apply."""
        script = partial(writes.apply, kind=kind, obj=obj, options=Options(field_manager), force=force)
        return (await self.commit(script, dry_run=dry_run)).object

    async def merge_status(self, kind: Kind, key: Key, status: Obj, *, version: str = "") -> Obj:
        """JSON merge patch of status alone; with `version` only while the object is at it (else Conflict)."""
        patch: Obj = {"status": status} | ({"metadata": {"resourceVersion": version}} if version else {})
        script = partial(writes.merge, kind=kind, key=key, patch=patch, options=Options(), part="status")
        return (await self.commit(script)).object

    async def scale(self, kind: Kind, key: Key, replicas: int, *, field_manager: str = "", version: str = "") -> None:
        """Write spec.replicas; with `version` only while the object is at it (else Conflict)."""
        patch: Obj = {"spec": {"replicas": replicas}} | ({"metadata": {"resourceVersion": version}} if version else {})
        options = Options(field_manager) if field_manager else Options()
        await self.commit(partial(writes.merge, kind=kind, key=key, patch=patch, options=options))

    async def delete(self, kind: Kind, key: Key, *, uid: str | None = None) -> None:
        """Delete the object and what only it owns. NotFound."""
        await self.commit(partial(writes.delete, kind=kind, key=key, uid=uid))

    async def record_event(
        self, obj: Obj, *, reason: str, message: str, type_: Literal["Normal", "Warning"] = "Normal"
    ) -> None:
        """Note an Event on the object; of an object that is gone nothing is kept."""
        await self.write(partial(events.record, obj=obj, reason=reason, message=message, type_=type_))

    async def events(self, obj: Obj) -> Sequence[Obj]:
        """The Events on this very object, oldest first."""
        return await self.read(partial(events.find_all, uid=obj["metadata"]["uid"]))

    async def watch(
        self,
        kind: Kind,
        *,
        namespace: str | None = None,
        since: str,
        selector: Selector = EVERYTHING,
        seconds: float = inf,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Changes after `since`, with a bookmark when it has been quiet; ends after `seconds` or when we are closed.

        With a selector, an object that begins to match is ADDED and one that ceases to is DELETED.
        """
        version = _version_of(since)
        clock = asyncio.get_running_loop().time
        told_at, ends_at = clock(), clock() + seconds
        while not self._closed:
            changed = self._changed[kind.kind]
            found = self._recent.after(kind, namespace, version)
            if found is None:
                found = await self.read(partial(_read_changes, kind=kind, namespace=namespace, since=version))
            newest, changes = found
            for change in changes:
                version = change.version
                if event := _seen_through(change, selector):
                    told_at = clock()
                    yield event
            if clock() >= ends_at:
                return
            if len(changes) == BATCH:
                continue
            version = max(version, newest)
            if clock() - told_at >= self._bookmark_seconds:
                told_at = clock()
                yield WatchEvent(EventType.BOOKMARK, bookmark(kind, version))
            with suppress(TimeoutError):  # not wait_for: on Python 3.11 it can swallow a cancellation
                async with asyncio.timeout(min(told_at + self._bookmark_seconds, ends_at) - clock()):
                    await changed.wait()

    async def read(self, script: Callable[[sqlite3.Connection], T]) -> T:
        """Run a script that only reads; all its steps see one state."""

        def transaction(conn: sqlite3.Connection) -> T:
            conn.execute("BEGIN")
            try:
                return script(conn)
            finally:
                conn.execute("COMMIT")

        return await self._db.read(transaction)

    async def commit(self, script: Callable[[sqlite3.Connection], Written], *, dry_run: bool = False) -> Written:
        """Run a script of `writes`; it is on disk when this returns. With dry_run it is answered and undone."""
        if not dry_run:
            return await self.write(script)

        def undone(conn: sqlite3.Connection) -> None:
            raise _Undo(script(conn))

        try:
            await self._db.write(undone)
        except _Undo as done:
            return done.written
        raise AssertionError("a dry run cannot end without its answer")

    async def write(self, script: Callable[[sqlite3.Connection], T]) -> T:
        """Run any script that writes; it is on disk when this returns."""
        writing = asyncio.ensure_future(self._db.write(partial(_noting, script=script)))
        writing.add_done_callback(self._written)
        return (await asyncio.shield(writing))[0]

    def _written(self, writing: asyncio.Future[tuple[T, Noted]]) -> None:
        """Before the caller hears of it: this was asked for first."""
        if not writing.cancelled() and writing.exception() is None:
            _, noted = writing.result()
            self._recent.note(noted)
            kinds = {change.object["kind"] for change in noted.changes}
            # Who wrote goes on first, and so knows its own write when the watch brings it.
            asyncio.get_running_loop().call_soon(self._wake, kinds)

    def _wake(self, kinds: Iterable[str]) -> None:
        for kind in list(kinds):
            self._changed[kind].set()
            self._changed[kind] = asyncio.Event()


class _Undo(Exception):
    def __init__(self, written: Written) -> None:
        super().__init__()
        self.written = written


def bookmark(kind: Kind, version: int | str) -> Obj:
    """The object of a BOOKMARK event: a version alone."""
    return {"apiVersion": API_VERSION, "kind": kind.kind, "metadata": {"resourceVersion": str(version)}}


def _version_of(text: str) -> int:
    if not text.isdecimal():
        raise InvalidInput(f"resourceVersion {text!r} is none of ours", hint="list, and use the version of the list")
    return int(text)


def _noting(conn: sqlite3.Connection, script: Callable[[sqlite3.Connection], T]) -> tuple[T, Noted]:
    """What a script answers, and what it changed."""
    before = tables.current_version(conn)
    answer = script(conn)
    changes = tables.all_changes_after(conn, before)
    return answer, Noted(before, tables.current_version(conn), tables.forgotten_version(conn), changes)


def _read_changes(
    conn: sqlite3.Connection, kind: Kind, namespace: str | None, since: int
) -> tuple[int, list[tables.Change]]:
    newest = tables.current_version(conn)
    if not tables.forgotten_version(conn) <= since <= newest:
        raise Expired(
            f"{kind.plural} cannot be watched from version {since}: too old resource version, or not of this store",
            hint="list again and watch from the version of the list",
        )
    return newest, tables.changes_after(conn, kind, namespace, since, limit=BATCH)


def _seen_through(change: tables.Change, selector: Selector) -> WatchEvent | None:
    """The change as a watcher with this selector sees it; None when it does not concern it."""
    now = change.type is not EventType.DELETED and selector.matches(change.object["metadata"].get("labels", {}))
    before = change.labels_before is not None and selector.matches(change.labels_before)
    match before, now:
        case True, True:
            return WatchEvent(EventType.MODIFIED, change.object)
        case False, True:
            return WatchEvent(EventType.ADDED, change.object)
        case True, False:
            return WatchEvent(EventType.DELETED, change.object)
    return None
