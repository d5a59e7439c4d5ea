"""The kinds as one caller may use them: every read and write is asked about before it is done.

The pressure: a tool that forgets to ask would do for anybody what the gateway may do. So no tool asks: they all stand
on this one, in place of the resources themselves. What must stay true: nothing is read, written, watched or deleted
that this caller could not read, write, watch or delete with kubectl; a list of all namespaces has those alone which
they may list, and where there is none it is refused, not empty.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Literal

from mahavishnu_operator.resources.protocol import (
    Forbidden,
    Key,
    Kind,
    Listing,
    Obj,
    Resources,
    WatchEvent,
)

from .reviews import Act, Identity, Reviews

MOST_NAMESPACES = 500  # that are asked about one by one


class Permitted:
    """resources.protocol.Resources of one caller; Forbidden, in words, for what they may not do."""

    def __init__(self, resources: Resources, reviews: Reviews, who: Identity) -> None:
        self._resources, self._reviews, self._who = resources, reviews, who

    async def may_watch(self, kind: Kind, namespace: str) -> None:
        """Forbidden, unless they may watch the kind there: for watches that callers share."""
        await self._check("watch", kind, namespace)

    async def list(self, kind: Kind, *, namespace: str | None = None, label_selector: str = "") -> Listing:
        """All objects of a kind, in one namespace or in all that they may list."""
        act = Act("list", kind.plural, namespace)
        if namespace is not None:
            await self._reviews.check(self._who, act)
        listing = await self._resources.list(kind, namespace=namespace, label_selector=label_selector)
        if namespace is not None or await self._reviews.allow(self._who, act):
            return listing
        return await self._theirs(kind, listing)

    async def get(self, kind: Kind, key: Key) -> Obj:
        """One object."""
        await self._check("get", kind, key.namespace, key.name)
        return await self._resources.get(kind, key)

    async def create(self, kind: Kind, obj: Obj, *, dry_run: bool = False) -> Obj:
        """Store a new object."""
        await self._check("create", kind, Key.of(obj).namespace)
        return await self._resources.create(kind, obj, dry_run=dry_run)

    async def merge(self, kind: Kind, key: Key, patch: Obj) -> Obj:
        """JSON merge patch of everything but status."""
        await self._check("patch", kind, key.namespace, key.name)
        return await self._resources.merge(kind, key, patch)

    async def apply(
        self, kind: Kind, obj: Obj, *, field_manager: str, force: bool = False, dry_run: bool = False
    ) -> Obj:
        """Server-side apply: it may make the object."""
        key = Key.of(obj)
        await self._check("patch", kind, key.namespace, key.name)
        await self._check("create", kind, key.namespace)
        return await self._resources.apply(kind, obj, field_manager=field_manager, force=force, dry_run=dry_run)

    async def merge_status(self, kind: Kind, key: Key, status: Obj, *, version: str = "") -> Obj:
        """JSON merge patch of status alone."""
        await self._check("patch", kind, key.namespace, key.name, "status")
        return await self._resources.merge_status(kind, key, status, version=version)

    async def scale(self, kind: Kind, key: Key, replicas: int, *, field_manager: str = "", version: str = "") -> None:
        """Write spec.replicas through /scale."""
        await self._check("patch", kind, key.namespace, key.name, "scale")
        await self._resources.scale(kind, key, replicas, field_manager=field_manager, version=version)

    async def delete(self, kind: Kind, key: Key, *, uid: str | None = None) -> None:
        """Delete one object."""
        await self._check("delete", kind, key.namespace, key.name)
        await self._resources.delete(kind, key, uid=uid)

    async def watch(self, kind: Kind, *, namespace: str | None = None, since: str) -> AsyncIterator[WatchEvent]:
        """Changes after `since`, of all namespaces only for whoever may watch them all; asked again for each."""
        act = Act("watch", kind.plural, namespace)
        await self._reviews.check(self._who, act)
        async for event in self._resources.watch(kind, namespace=namespace, since=since):
            await self._reviews.check(self._who, act)
            yield event

    async def record_event(
        self, obj: Obj, *, reason: str, message: str, type_: Literal["Normal", "Warning"] = "Normal"
    ) -> None:
        """An Event on an object."""
        act = Act("create", "events", Key.of(obj).namespace, group="", version="v1")
        await self._reviews.check(self._who, act)
        await self._resources.record_event(obj, reason=reason, message=message, type_=type_)

    async def _check(self, verb: str, kind: Kind, namespace: str, name: str = "", subresource: str = "") -> None:
        await self._reviews.check(self._who, Act(verb, kind.plural, namespace, name, subresource))

    async def _theirs(self, kind: Kind, listing: Listing) -> Listing:
        """What of a list of all namespaces is in those that they may list."""
        home = {self._who.home} if self._who.home else set()
        spaces = sorted({Key.of(obj).namespace for obj in listing.items} | home)
        if len(spaces) > MOST_NAMESPACES:
            raise Forbidden(
                f"{self._who.username} may not list {kind.plural} in all namespaces, and they are in {len(spaces)} of "
                "them, too many to ask about each",
                hint="start the gateway with --namespace, or give the right to list them all",
            )
        allowed = await asyncio.gather(
            *(self._reviews.allow(self._who, Act("list", kind.plural, each)) for each in spaces)
        )
        theirs = {space for space, may in zip(spaces, allowed, strict=True) if may}
        if not theirs:
            raise Forbidden(
                f"{self._who.username} may not list {kind.plural} in any namespace that has some",
                hint="whoever administers a namespace gives the right, as by a RoleBinding to the ClusterRole view",
            )
        return Listing(tuple(obj for obj in listing.items if Key.of(obj).namespace in theirs), listing.resource_version)
