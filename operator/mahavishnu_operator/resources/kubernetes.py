"""Resources over Kubernetes REST conventions: a real API server, or the embedded one.

Thin on purpose (docs/adr/0005): paths, content types and query parameters; everything else is the server's
business. What must stay true: every write asks for strict field validation; a watch that has gone silent
is noticed, because bookmarks come each minute; 404 and 409 are answers, not failures.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote

import msgspec
import structlog

from mahavishnu_operator.api.reasons import API_VERSION
from mahavishnu_operator.support.errors import Conflict, InvalidInput, NotFound

from .connection import Connection
from .eventing import again, event_name, new_event
from .http import CALL_TIMEOUT, ApiSession, error_of, lines_of
from .protocol import EventType, Forbidden, Key, Kind, Listing, Obj, Unreachable, WatchEvent

log = structlog.get_logger(__name__)

PAGE = 500
WATCH_SECONDS = (240, 480)  # a watch is renewed in between, so that the watches of many clients spread
IDLE_SECONDS = 75.0  # bookmarks come each minute
LONGEST_LINE = 8 * 1024 * 1024
FIELD_MANAGER = "mahavishnu"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"  # JSON is YAML
KNOWN_EVENTS = 10_000

Keep = Callable[[Obj], Obj]  # what is to be kept of an object that is listed or watched


def whole(obj: Obj) -> Obj:
    """All of it."""
    return obj


class KubernetesResources:
    """resources.protocol.Resources over HTTP. Close it in the end."""

    def __init__(
        self,
        connection: Connection,
        *,
        timeout: float = CALL_TIMEOUT,
        idle_seconds: float = IDLE_SECONDS,
        field_manager: str = FIELD_MANAGER,
    ) -> None:
        self.connection = connection
        self._api = ApiSession(connection, timeout=timeout)
        self._idle = idle_seconds
        self._writing = {"fieldManager": field_manager, "fieldValidation": "Strict"}
        self._known_events: dict[tuple[str, str], Obj] = {}

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def get_json(self, path: str) -> Any:
        """The JSON at any path of the server."""
        return await self._api.call("GET", path)

    async def post_json(self, path: str, body: Obj) -> Any:
        """The answer to a JSON body at any path of the server: reviews, which are no objects."""
        return await self._api.call("POST", path, body=body)

    async def get_bytes(self, path: str) -> bytes:
        """The bytes at any path of the server."""
        return await self._api.fetch(path)

    async def list(
        self, kind: Kind, *, namespace: str | None = None, label_selector: str = "", keep: Keep = whole
    ) -> Listing:
        """All objects of a kind, page by page, all of one version; of each what `keep` answers."""
        query = {"limit": str(PAGE), **({"labelSelector": label_selector} if label_selector else {})}
        items: list[Obj] = []
        while True:
            try:
                page = await self._api.call("GET", _path(kind, namespace), query=query)
            except NotFound:
                raise NotFound(
                    f"{self.connection.server} does not serve {kind.plural} of {kind.api}",
                    hint="install the CRDs first: kubectl apply -f crds/" if kind.api == API_VERSION else "",
                ) from None
            # The items of a list come without these two.
            items += (keep({"apiVersion": kind.api, "kind": kind.kind, **item}) for item in page["items"])
            if not page["metadata"].get("continue"):
                return Listing(tuple(items), page["metadata"]["resourceVersion"])
            query["continue"] = page["metadata"]["continue"]

    async def get(self, kind: Kind, key: Key) -> Obj:
        """One object. NotFound."""
        return await self._object("GET", _path(kind, key.namespace, key.name))

    async def create(self, kind: Kind, obj: Obj, *, dry_run: bool = False) -> Obj:
        """Store a new object. InvalidInput; Conflict when the name is taken."""
        namespace = obj.get("metadata", {}).get("namespace") or "default"
        return await self._object("POST", _path(kind, namespace), query=self._query(dry_run=dry_run), body=obj)

    async def merge(self, kind: Kind, key: Key, patch: Obj) -> Obj:
        """JSON merge patch of everything but status."""
        path = _path(kind, key.namespace, key.name)
        return await self._object("PATCH", path, query=self._query(), body=patch, content_type=MERGE)

    async def apply(
        self, kind: Kind, obj: Obj, *, field_manager: str, force: bool = False, dry_run: bool = False
    ) -> Obj:
        """Server-side apply."""
        key = _key_of(kind, obj)
        query = self._query(dry_run=dry_run) | {"fieldManager": field_manager, "force": "true" if force else "false"}
        path = _path(kind, key.namespace, key.name)
        return await self._object("PATCH", path, query=query, body=obj, content_type=APPLY)

    async def merge_status(self, kind: Kind, key: Key, status: Obj, *, version: str = "") -> Obj:
        """JSON merge patch of status alone; with `version` only while the object is at it (else Conflict)."""
        path = _path(kind, key.namespace, key.name, "status")
        body: Obj = {"status": status} | ({"metadata": {"resourceVersion": version}} if version else {})
        return await self._object("PATCH", path, query=self._query(), body=body, content_type=MERGE)

    async def scale(self, kind: Kind, key: Key, replicas: int, *, field_manager: str = "", version: str = "") -> None:
        """Write spec.replicas through /scale; with `version` only while the object is at it (else Conflict)."""
        path = _path(kind, key.namespace, key.name, "scale")
        query = self._query() | ({"fieldManager": field_manager} if field_manager else {})
        body: Obj = {"spec": {"replicas": replicas}} | ({"metadata": {"resourceVersion": version}} if version else {})
        await self._api.call("PATCH", path, query=query, body=body, content_type=MERGE)

    async def delete(self, kind: Kind, key: Key, *, uid: str | None = None, grace_seconds: int | None = None) -> None:
        """Delete; with uid only that very object. NotFound when it has gone already."""
        options: Obj = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            await self._api.call("DELETE", _path(kind, key.namespace, key.name), body=options)
        except Conflict as error:
            if uid is None:
                raise
            raise NotFound(f"{kind.singular} {key} with uid {uid} is gone: {error.message}") from None

    async def watch(
        self,
        kind: Kind,
        *,
        namespace: str | None = None,
        since: str,
        label_selector: str = "",
        keep: Keep = whole,
    ) -> AsyncIterator[WatchEvent]:
        """Changes after `since`, until the server closes; ends or raises Expired/Unreachable."""
        seconds = random.randint(*WATCH_SECONDS)  # noqa: S311 (no secret)
        query = {
            "watch": "true",
            "resourceVersion": since,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
            **({"labelSelector": label_selector} if label_selector else {}),
        }
        async with self._api.open("GET", _path(kind, namespace), query=query, total=seconds + 60.0) as response:
            async for line in lines_of(response, idle=self._idle, longest=LONGEST_LINE):
                yield _read_event(kind, line, keep)

    async def record_event(
        self, obj: Obj, *, reason: str, message: str, type_: Literal["Normal", "Warning"] = "Normal"
    ) -> None:
        """Note an Event, or count one more of it. For an object or namespace that is going away nothing is kept."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        namespace = obj["metadata"].get("namespace", "default")
        name = event_name(obj, reason=reason, message=message, type_=type_)
        path = f"/api/v1/namespaces/{quote(namespace)}/events"
        try:
            known = self._known_events.pop((namespace, name), None)
            event = known and await self._count_event(f"{path}/{name}", known, now)
            if event is None:
                fresh = new_event(obj, reason=reason, message=message, type_=type_, now=now)
                try:
                    event = await self._api.call("POST", path, body=fresh)
                except Conflict:  # it is from an earlier life of ours: a patch answers its count
                    found = await self._patch_event(f"{path}/{name}", {"lastTimestamp": now})
                    event = found and await self._count_event(f"{path}/{name}", found, now)
        except (NotFound, Forbidden) as error:
            log.info("an event could not be kept", object=str(Key.of(obj)), event_reason=reason, error=str(error))
            return
        if event is not None:
            self._known_events[namespace, name] = {"count": event.get("count")}
            while len(self._known_events) > KNOWN_EVENTS:
                del self._known_events[next(iter(self._known_events))]

    async def events(self, obj: Obj) -> Sequence[Obj]:
        """The Events on this very object, oldest first."""
        namespace = obj["metadata"].get("namespace", "default")
        query = {"fieldSelector": f"involvedObject.uid={obj['metadata']['uid']}"}
        found = await self._api.call("GET", f"/api/v1/namespaces/{quote(namespace)}/events", query=query)
        return sorted(found["items"], key=lambda event: str(event.get("lastTimestamp") or ""))

    async def _count_event(self, path: str, known: Obj, now: str) -> Obj | None:
        return await self._patch_event(path, again(known, now=now))

    async def _patch_event(self, path: str, patch: Mapping[str, Any]) -> Obj | None:
        """The Event after the patch; None when it has expired meanwhile."""
        try:
            return await self._object("PATCH", path, body=patch, content_type=MERGE)
        except NotFound:
            return None

    async def _object(self, method: str, path: str, **arguments: Any) -> Obj:
        answer: Obj = await self._api.call(method, path, **arguments)
        return answer

    def _query(self, *, dry_run: bool = False) -> dict[str, str]:
        return self._writing | ({"dryRun": "All"} if dry_run else {})


def _path(kind: Kind, namespace: str | None, *rest: str) -> str:
    where = "" if namespace is None else f"/namespaces/{_segment(namespace)}"
    root = f"/apis/{kind.api}" if "/" in kind.api else f"/api/{kind.api}"
    return f"{root}{where}/{kind.plural}" + "".join(f"/{_segment(part)}" for part in rest)


def _segment(name: str) -> str:
    """One part of a path. An empty one or a dot would make the path that of the collection: all of a kind."""
    if name in ("", ".", "..") or "/" in name or "%" in name:
        raise InvalidInput(f"{name!r} cannot be a name of an object or namespace", hint="is a variable not set?")
    return quote(name, safe="", errors="replace")


def _key_of(kind: Kind, obj: Obj) -> Key:
    meta = obj.get("metadata") or {}
    if not meta.get("name"):
        raise InvalidInput(f"a {kind.kind} without metadata.name cannot be applied", hint="give it a name")
    return Key(meta.get("namespace") or "default", meta["name"])


def _read_event(kind: Kind, line: bytes, keep: Keep) -> WatchEvent:
    try:
        event = msgspec.json.decode(line)
        type_, obj = event["type"], event["object"]
        if type_ == "ERROR":
            raise error_of(int(obj.get("code") or 500), msgspec.json.encode(obj), f"watch of {kind.plural}")
        obj["metadata"]["resourceVersion"]
        event_type = EventType(type_)
        return WatchEvent(event_type, obj if event_type is EventType.BOOKMARK else keep(obj))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unreachable(f"the server sent something else than an event on a watch: {line[:200]!r}") from None
