"""What the rest of the program may do with the kinds, wherever they are kept (docs/adr/0005).

Two implementations: `kubernetes.KubernetesResources` speaks REST to an API server, a real one or the
embedded one's; `embedded.EmbeddedResources` keeps objects in this process on SQLite. Control and cli
see this protocol alone. Objects are plain JSON dictionaries, as they came: reconcilers parse the part
they need, so a field written by a newer version survives us.

What must stay true: every write answers the stored object; versions are opaque strings; a watch never
loses a change between its `since` and now, it raises Expired instead.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Protocol

from mahavishnu_operator.api.reasons import API_VERSION
from mahavishnu_operator.support.errors import MahavishnuError

Obj = dict[str, Any]
OUR_BUILD = "+mahavishnu."  # in the gitVersion of a server that is a `mahavishnu up`


@dataclass(frozen=True)
class Kind:
    """A kind as the API names it, by default one of ours. `api` is what its objects have as apiVersion."""

    kind: str
    plural: str
    singular: str
    short: str
    api: str = API_VERSION


WORKER_POOL = Kind("WorkerPool", "workerpools", "workerpool", "wp")
SCAN_JOB = Kind("ScanJob", "scanjobs", "scanjob", "sj")
KINDS = (WORKER_POOL, SCAN_JOB)


@dataclass(frozen=True, order=True)
class Key:
    """Which object: its namespace and name. Written `namespace/name`."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> Key:
        """The key of an object dictionary."""
        meta = obj["metadata"]
        return cls(meta.get("namespace", "default"), meta["name"])


class Expired(MahavishnuError):
    """The version asked for is no longer kept (HTTP 410): list again."""

    reason = "Expired"


class Unreachable(MahavishnuError):
    """The API server did not answer, or answered 5xx/429: the same call may work later."""

    reason = "Unreachable"


class Silent(Unreachable):
    """Nothing came on a watch for longer than a bookmark takes: its connection may be dead, or its kind is quiet.

    An API server sends no bookmarks of a kind of which it has seen no event since it started.
    """


class Forbidden(MahavishnuError):
    """The API server does not accept our credentials (401), or they do not allow this (403)."""

    reason = "Forbidden"


@dataclass(frozen=True)
class Listing:
    """A complete LIST and the version it was true at."""

    items: tuple[Obj, ...]
    resource_version: str


class EventType(StrEnum):
    """What happened to a watched object; BOOKMARK carries a version alone."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


@dataclass(frozen=True)
class WatchEvent:
    """One change, in order."""

    type: EventType
    object: Obj


class Source(Protocol):
    """Where the objects of one kind can be listed and watched; errors as in Resources."""

    async def list(self, kind: Kind, *, namespace: str | None = None) -> Listing:
        """All objects of a kind, in one namespace or in all."""
        ...

    def watch(self, kind: Kind, *, namespace: str | None = None, since: str) -> AsyncIterator[WatchEvent]:
        """Changes after `since`, until the server closes; ends or raises Expired/Unreachable."""
        ...


class Resources(Protocol):
    """Errors: NotFound (404), Conflict (409), InvalidInput (400, 422), Expired (410), Forbidden, Unreachable."""

    async def list(self, kind: Kind, *, namespace: str | None = None, label_selector: str = "") -> Listing:
        """All objects of a kind, in one namespace or in all."""
        ...

    async def get(self, kind: Kind, key: Key) -> Obj:
        """One object."""
        ...

    async def create(self, kind: Kind, obj: Obj, *, dry_run: bool = False) -> Obj:
        """Store a new object (strict: unknown fields are refused)."""
        ...

    async def merge(self, kind: Kind, key: Key, patch: Obj) -> Obj:
        """JSON merge patch of everything but status; with metadata.resourceVersion in it, guarded."""
        ...

    async def apply(
        self, kind: Kind, obj: Obj, *, field_manager: str, force: bool = False, dry_run: bool = False
    ) -> Obj:
        """Server-side apply: create or update, strict."""
        ...

    async def merge_status(self, kind: Kind, key: Key, status: Obj, *, version: str = "") -> Obj:
        """JSON merge patch of status alone; with `version` only while the object is at it (else Conflict)."""
        ...

    async def scale(self, kind: Kind, key: Key, replicas: int, *, field_manager: str = "", version: str = "") -> None:
        """Write spec.replicas through /scale; with `version` only while the object is at it (else Conflict)."""
        ...

    async def delete(self, kind: Kind, key: Key, *, uid: str | None = None) -> None:
        """Delete; with uid only that very object. NotFound when it has gone already."""
        ...

    def watch(self, kind: Kind, *, namespace: str | None = None, since: str) -> AsyncIterator[WatchEvent]:
        """Changes after `since`, until the server closes; ends or raises Expired/Unreachable."""
        ...

    async def record_event(
        self, obj: Obj, *, reason: str, message: str, type_: Literal["Normal", "Warning"] = "Normal"
    ) -> None:
        """An Event on an object; the same reason and message again raises its count."""
        ...
