"""The endpoints of our two kinds: collections, objects, /status and /scale.

Thin: a request becomes one script of `embedded.writes`, its answer one form of the object. What must stay
true: the name and namespace of the URL are the object's; a main resource never changes status, /status
nothing but status.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mahavishnu_operator.api.reasons import API_VERSION, GROUP, VERSION
from mahavishnu_operator.resources.embedded import EmbeddedResources, tables, writes
from mahavishnu_operator.resources.embedded.writes import Written
from mahavishnu_operator.resources.patching import json_patch, merge_patch
from mahavishnu_operator.resources.protocol import KINDS, Expired, Key, Kind, Listing, Obj
from mahavishnu_operator.resources.selectors import Selector, parse_fields, parse_labels
from mahavishnu_operator.support.errors import InvalidInput, MahavishnuError

from . import scales
from .answers import RequestRefused, answer, code_and_reason, status_of
from .forms import show_list, show_one
from .requests import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    WriteRequest,
    content_type,
    parse,
    read_body,
    read_object,
    read_value,
    wanted_form,
    write_request,
)
from .watching import watch_response

Part = Literal["spec", "status"]
FIELDS = ("metadata.name", "metadata.namespace")
PATCH_TYPES = (MERGE_PATCH, JSON_PATCH, APPLY_PATCH)


def object_routes(resources: EmbeddedResources) -> list[Route]:
    """All endpoints of all kinds."""
    return [route for kind in KINDS for route in _KindEndpoints(resources, kind).routes()]


class _KindEndpoints:
    def __init__(self, resources: EmbeddedResources, kind: Kind) -> None:
        self._resources = resources
        self._kind = kind

    def routes(self) -> list[Route]:
        base = f"/apis/{GROUP}/{VERSION}"
        collection = f"{base}/namespaces/{{namespace}}/{self._kind.plural}"
        one = f"{collection}/{{name}}"

        def route(path: str, **methods: Callable[[Request], Awaitable[Response]]) -> Route:
            return Route(path, self._endpoint(methods), methods=list(methods))

        return [
            route(f"{base}/{self._kind.plural}", GET=self._list),
            route(collection, GET=self._list, POST=self._create, DELETE=self._delete_all),
            route(one, GET=self._get, PUT=self._replace, PATCH=self._patch, DELETE=self._delete),
            route(
                f"{one}/status",
                GET=self._get,
                PUT=partial(self._replace, part="status"),
                PATCH=partial(self._patch, part="status"),
            ),
            route(f"{one}/scale", GET=self._get_scale, PUT=self._put_scale, PATCH=self._patch_scale),
        ]

    def _endpoint(
        self, methods: dict[str, Callable[[Request], Awaitable[Response]]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                return await methods["GET" if request.method == "HEAD" else request.method](request)
            except MahavishnuError as error:
                name = request.path_params.get("name", "")
                return answer(status_of(error, kind=self._kind, name=name), code=code_and_reason(error)[0])

        return endpoint

    async def _list(self, request: Request) -> Response:
        namespace = request.path_params.get("namespace")
        form = wanted_form(request.headers.get("accept", ""))
        labels, fields = _selectors(request)
        if request.query_params.get("watch") in ("true", "1"):
            return watch_response(
                request, self._resources, self._kind, namespace=namespace, labels=labels, fields=fields, form=form
            )
        listing = await self._resources.read(partial(_select, self._kind, namespace, labels, fields))
        query = request.query_params
        if query.get("resourceVersionMatch") == "Exact" and query.get("resourceVersion") != listing.resource_version:
            raise Expired(f"only version {listing.resource_version} can be listed", hint="leave resourceVersion out")
        include = query.get("includeObject", "")
        shown = show_list(listing.items, kind=self._kind, version=listing.resource_version, form=form, include=include)
        return answer(shown)

    async def _get(self, request: Request) -> Response:
        obj = await self._resources.get(self._kind, _key(request))
        return self._shown(request, obj)

    async def _create(self, request: Request) -> Response:
        how = write_request(request)
        obj = _in_namespace(await read_object(request, strict=how.options.strict), request)
        script = partial(writes.create, kind=self._kind, obj=obj, options=how.options)
        return await self._write(request, how, script)

    async def _replace(self, request: Request, part: Part = "spec") -> Response:
        how = write_request(request)
        obj = _in_namespace(await read_object(request, strict=how.options.strict), request)
        if not (obj.get("metadata") or {}).get("resourceVersion"):
            raise InvalidInput("metadata.resourceVersion must be specified for an update", hint="read it first")
        return await self._change(request, how, lambda _: obj, part)

    async def _patch(self, request: Request, part: Part = "spec") -> Response:
        how = write_request(request)
        given = content_type(request)
        if given == APPLY_PATCH and part == "spec":
            return await self._apply(request, how)
        patch = await read_value(request, types=PATCH_TYPES[:2] if part == "status" else PATCH_TYPES)
        if given == JSON_PATCH:
            return await self._change(request, how, lambda old: json_patch(old, patch), part)
        if not isinstance(patch, dict):
            raise InvalidInput("a merge patch of an object is an object", reason="BadRequest")
        return await self._change(request, how, lambda old: merge_patch(old, patch), part)

    async def _apply(self, request: Request, how: WriteRequest) -> Response:
        if not how.manager_named:
            raise InvalidInput("an apply must name its fieldManager", hint="add ?fieldManager=", reason="BadRequest")
        obj = await read_object(request, types=(APPLY_PATCH,), strict=how.options.strict)
        obj = _in_namespace(obj, request)
        obj["metadata"].setdefault("name", _key(request).name)
        if Key.of(obj) != _key(request):
            raise InvalidInput(f"the object is {Key.of(obj)}, the URL names {_key(request)}", reason="BadRequest")
        script = partial(writes.apply, kind=self._kind, obj=obj, options=how.options, force=how.force)
        return await self._write(request, how, script)

    async def _change(self, request: Request, how: WriteRequest, edit: Callable[[Obj], Any], part: Part) -> Response:
        script = partial(writes.change, kind=self._kind, key=_key(request), edit=edit, options=how.options, part=part)
        return await self._write(request, how, script)

    async def _delete(self, request: Request) -> Response:
        script, dry_run = await self._deletion(request)
        done = await self._resources.commit(partial(script, key=_key(request)), dry_run=dry_run)
        if "deletionTimestamp" in done.object["metadata"] and done.object["metadata"].get("finalizers"):
            return self._shown(request, done.object)
        meta = done.object["metadata"]
        details = {"name": meta["name"], "group": GROUP, "kind": self._kind.plural, "uid": meta["uid"]}
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return answer(status)

    async def _delete_all(self, request: Request) -> Response:
        script, dry_run = await self._deletion(request)
        labels, fields = _selectors(request)

        def delete_selected(conn: sqlite3.Connection) -> Written:
            listing = _select(self._kind, request.path_params["namespace"], labels, fields, conn)
            gone = []
            for obj in listing.items:
                if tables.find(conn, self._kind, Key.of(obj)) is not None:  # not gone with its owner
                    gone.append(script(conn, key=Key.of(obj)).object)
            return Written({"items": gone})

        done = await self._resources.commit(delete_selected, dry_run=dry_run)
        items = done.object["items"]
        meta = {"resourceVersion": max((o["metadata"]["resourceVersion"] for o in items), key=int, default="")}
        return answer({"apiVersion": API_VERSION, "kind": f"{self._kind.kind}List", "metadata": meta, "items": items})

    async def _deletion(self, request: Request) -> tuple[Callable[..., Written], bool]:
        """The script of a delete as the DeleteOptions ask for it, and whether it is a dry run."""
        body = await read_body(request)
        options = parse(body, yaml_allowed=False) if body.strip() else {}
        if not isinstance(options, dict):
            raise InvalidInput("the body is no DeleteOptions", reason="BadRequest")
        wanted = options.get("preconditions") or {}
        policy = options.get("propagationPolicy") or request.query_params.get("propagationPolicy") or "Background"
        if policy not in ("Background", "Foreground", "Orphan"):
            raise InvalidInput(f"propagationPolicy {policy!r} is unknown", reason="BadRequest")
        dry_run = write_request(request).dry_run or "All" in (options.get("dryRun") or [])
        orphan = policy == "Orphan" or options.get("orphanDependents") is True
        script = partial(
            writes.delete,
            kind=self._kind,
            uid=wanted.get("uid"),
            version=wanted.get("resourceVersion"),
            orphan=orphan,
        )
        return script, dry_run

    async def _get_scale(self, request: Request) -> Response:
        return answer(scales.scale_of(await self._scaled(request)))

    async def _put_scale(self, request: Request) -> Response:
        scale = await read_object(request)
        return await self._scale(request, lambda _: scale)

    async def _patch_scale(self, request: Request) -> Response:
        patch = await read_value(request, types=PATCH_TYPES[:2])
        edit = json_patch if content_type(request) == JSON_PATCH else merge_patch
        return await self._scale(request, lambda old: edit(old, patch))

    async def _scale(self, request: Request, edit: Callable[[Obj], Any]) -> Response:
        await self._scaled(request)
        how = write_request(request)
        script = partial(
            writes.change,
            kind=self._kind,
            key=_key(request),
            edit=lambda old: scales.scaled(old, edit(scales.scale_of(old))),
            options=how.options,
        )
        done = await self._resources.commit(script, dry_run=how.dry_run)
        return answer(scales.scale_of(done.object))

    async def _scaled(self, request: Request) -> Obj:
        if not scales.scalable(self._kind):
            raise RequestRefused(404, "NotFound", f"{self._kind.plural} have no scale")
        return await self._resources.get(self._kind, _key(request))

    async def _write(
        self, request: Request, how: WriteRequest, script: Callable[[sqlite3.Connection], Written]
    ) -> Response:
        done = await self._resources.commit(script, dry_run=how.dry_run)
        warnings = done.warnings if how.show_warnings else ()
        return self._shown(request, done.object, code=201 if done.created else 200, warnings=warnings)

    def _shown(self, request: Request, obj: Obj, *, code: int = 200, warnings: tuple[str, ...] = ()) -> Response:
        form = wanted_form(request.headers.get("accept", ""))
        include = request.query_params.get("includeObject", "")
        return answer(show_one(obj, kind=self._kind, form=form, include=include), code=code, warnings=warnings)


def _key(request: Request) -> Key:
    return Key(request.path_params["namespace"], request.path_params["name"])


def _selectors(request: Request) -> tuple[Selector, Selector]:
    query = request.query_params
    return parse_labels(query.get("labelSelector", "")), parse_fields(query.get("fieldSelector", ""), FIELDS)


def _select(kind: Kind, namespace: str | None, labels: Selector, fields: Selector, conn: sqlite3.Connection) -> Listing:
    chosen = tuple(
        obj
        for obj in tables.find_all(conn, kind, namespace)
        if labels.matches(obj["metadata"].get("labels", {})) and fields.matches_fields(obj)
    )
    return Listing(chosen, str(tables.current_version(conn)))


def _in_namespace(obj: Obj, request: Request) -> Obj:
    """The object with the URL's namespace; refused when it names another one."""
    meta = obj.get("metadata")
    if not isinstance(meta, dict):
        raise InvalidInput("the object has no metadata", hint="it needs at least a name", reason="BadRequest")
    namespace = request.path_params["namespace"]
    if meta.get("namespace") not in (None, "", namespace):
        raise InvalidInput(
            f"the object is in namespace {meta['namespace']!r}, the URL names {namespace!r}", reason="BadRequest"
        )
    return {**obj, "metadata": {**meta, "namespace": namespace}}
