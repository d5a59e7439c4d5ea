"""Watches: one JSON line an event, for as long as the client listens.

The pressure: a client that restarts must get either every change after its version or a clear 410, and a
quiet stream must prove that it lives. What must stay true: bookmarks only for those who allow them; a
stream always ends by itself (timeoutSeconds), so that clients spread and nothing leaks.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mahavishnu_operator.resources.embedded import EmbeddedResources
from mahavishnu_operator.resources.embedded.resources import bookmark
from mahavishnu_operator.resources.protocol import EventType, Kind, Obj, WatchEvent
from mahavishnu_operator.resources.selectors import Selector
from mahavishnu_operator.support.errors import InvalidInput, MahavishnuError

from .answers import json_bytes, status_of
from .forms import show_one

DEFAULT_SECONDS = (1800, 3600)
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


@dataclass(frozen=True)
class _Watch:
    kind: Kind
    namespace: str | None
    labels: Selector
    fields: Selector
    form: str
    include: str
    since: str
    initial: bool
    marks_initial: bool
    bookmarks: bool
    seconds: float


def watch_response(
    request: Request,
    resources: EmbeddedResources,
    kind: Kind,
    *,
    namespace: str | None,
    labels: Selector,
    fields: Selector,
    form: str,
) -> Response:
    """The stream that answers a watch request."""
    query = request.query_params
    since = query.get("resourceVersion", "")
    marks_initial = query.get("sendInitialEvents") in ("true", "1")
    if marks_initial and query.get("resourceVersionMatch") != "NotOlderThan":
        raise InvalidInput("sendInitialEvents needs resourceVersionMatch=NotOlderThan")
    watch = _Watch(
        kind,
        namespace,
        labels,
        fields,
        form,
        query.get("includeObject", ""),
        since,
        initial=marks_initial or since in ("", "0"),
        marks_initial=marks_initial,
        bookmarks=query.get("allowWatchBookmarks") in ("true", "1"),
        seconds=_seconds(query.get("timeoutSeconds", "")),
    )
    return StreamingResponse(_lines(resources, watch), media_type="application/json")


async def _lines(resources: EmbeddedResources, watch: _Watch) -> AsyncGenerator[bytes, None]:
    headers = True
    try:
        async with aclosing(_events(resources, watch)) as events:
            async for event in events:
                yield _line(watch, event, headers=headers)
                headers = headers and event.type is EventType.BOOKMARK
    except MahavishnuError as error:
        yield json_bytes({"type": "ERROR", "object": status_of(error, kind=watch.kind)}) + b"\n"


async def _events(resources: EmbeddedResources, watch: _Watch) -> AsyncGenerator[WatchEvent, None]:
    since = watch.since
    if watch.initial:
        listing = await resources.list(watch.kind, namespace=watch.namespace)
        for obj in listing.items:
            if watch.labels.matches(obj["metadata"].get("labels", {})) and watch.fields.matches_fields(obj):
                yield WatchEvent(EventType.ADDED, obj)
        since = listing.resource_version
        if watch.marks_initial:
            yield WatchEvent(EventType.BOOKMARK, _initial_end(watch.kind, since))
    changes = resources.watch(
        watch.kind, namespace=watch.namespace, since=since, selector=watch.labels, seconds=watch.seconds
    )
    async with aclosing(changes):
        async for event in changes:
            if event.type is EventType.BOOKMARK:
                if watch.bookmarks:
                    yield event
            elif watch.fields.matches_fields(event.object):
                yield event


def _line(watch: _Watch, event: WatchEvent, *, headers: bool) -> bytes:
    shown: Obj = event.object
    if event.type is not EventType.BOOKMARK:
        shown = show_one(shown, kind=watch.kind, form=watch.form, include=watch.include, headers=headers)
    return json_bytes({"type": event.type.value, "object": shown}) + b"\n"


def _initial_end(kind: Kind, version: str) -> Obj:
    mark = bookmark(kind, version)
    mark["metadata"]["annotations"] = {INITIAL_EVENTS_END: "true"}
    return mark


def _seconds(text: str) -> float:
    if not text:
        return float(random.randint(*DEFAULT_SECONDS))  # noqa: S311 (no secret)
    if not text.isdecimal():
        raise InvalidInput(f"timeoutSeconds {text!r} is no whole number", reason="BadRequest")
    return float(text) or float(DEFAULT_SECONDS[1])
