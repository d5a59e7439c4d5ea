"""The little of core/v1 that kubectl needs around our kinds: namespaces, and the Events on our objects.

A namespace is nothing that is stored: every valid name is one. What must stay true: nothing is accepted
here that would not be kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mahavishnu_operator.resources.embedded import EmbeddedResources, events, tables
from mahavishnu_operator.resources.embedded.metadata import is_namespace
from mahavishnu_operator.resources.protocol import Obj
from mahavishnu_operator.resources.schemas import Column
from mahavishnu_operator.resources.selectors import parse_fields, parse_labels
from mahavishnu_operator.support.errors import MahavishnuError, NotFound

from .answers import RequestRefused, answer, code_and_reason, status_of
from .forms import partial_metadata, table
from .requests import MERGE_PATCH, read_object, read_value, wanted_form

EVENT_FIELDS = (
    *("metadata.name", "metadata.namespace", "reason", "type", "source", "reportingComponent"),
    *(f"involvedObject.{name}" for name in ("kind", "name", "namespace", "uid", "apiVersion", "resourceVersion")),
    "involvedObject.fieldPath",
)
EVENT_COLUMNS = (
    Column("Last Seen", "date", ".lastTimestamp"),
    Column("Type", "string", ".type"),
    Column("Reason", "string", ".reason"),
    Column("Object", "string", ".involvedObject.name"),
    Column("Count", "integer", ".count"),
    Column("Message", "string", ".message"),
)
NAMESPACE_COLUMNS = (Column("Status", "string", ".status.phase"),)


def core_routes(resources: EmbeddedResources) -> list[Route]:
    """The endpoints under /api/v1."""
    core = _Core(resources)
    return [
        _route("/api/v1/namespaces", {"GET": core.list_namespaces}),
        _route("/api/v1/namespaces/{namespace}", {"GET": core.get_namespace}),
        _route("/api/v1/events", {"GET": core.list_events}),
        _route("/api/v1/namespaces/{namespace}/events", {"GET": core.list_events, "POST": core.create_event}),
        _route("/api/v1/namespaces/{namespace}/events/{name}", {"GET": core.get_event, "PATCH": core.patch_event}),
    ]


def _route(path: str, methods: Mapping[str, Callable[[Request], Awaitable[Response]]]) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            return await methods["GET" if request.method == "HEAD" else request.method](request)
        except MahavishnuError as error:
            return answer(status_of(error), code=code_and_reason(error)[0])

    return Route(path, endpoint, methods=list(methods))


class _Core:
    def __init__(self, resources: EmbeddedResources) -> None:
        self._resources = resources

    async def list_namespaces(self, request: Request) -> Response:
        _refuse_watch(request)
        used = await self._resources.read(tables.namespaces)
        found = [_namespace(name) for name in sorted({"default", *used})]
        return await self._list(request, "Namespace", found, NAMESPACE_COLUMNS, fields=("metadata.name",))

    async def get_namespace(self, request: Request) -> Response:
        name = request.path_params["namespace"]
        if not is_namespace(name):
            raise NotFound(f'namespaces "{name}" not found: that cannot be the name of one')
        return _one(request, _namespace(name), NAMESPACE_COLUMNS)

    async def list_events(self, request: Request) -> Response:
        _refuse_watch(request)
        namespace = request.path_params.get("namespace")
        found = await self._resources.read(partial(events.find_all, namespace=namespace))
        return await self._list(request, "Event", found, EVENT_COLUMNS, fields=EVENT_FIELDS)

    async def get_event(self, request: Request) -> Response:
        where = {"namespace": request.path_params["namespace"], "name": request.path_params["name"]}
        found = await self._resources.read(partial(events.find, **where))
        if found is None:
            raise NotFound(f'events "{where["name"]}" not found in namespace {where["namespace"]!r}')
        return _one(request, found, EVENT_COLUMNS)

    async def create_event(self, request: Request) -> Response:
        event = await read_object(request)
        namespace = request.path_params["namespace"]
        return answer(await self._resources.write(partial(events.create, namespace=namespace, event=event)), code=201)

    async def patch_event(self, request: Request) -> Response:
        patch = await read_value(request, types=(MERGE_PATCH,))
        where = {"namespace": request.path_params["namespace"], "name": request.path_params["name"]}
        return answer(await self._resources.write(partial(events.merge, patch=patch, **where)))

    async def _list(
        self, request: Request, kind: str, items: list[Obj], columns: tuple[Column, ...], *, fields: tuple[str, ...]
    ) -> Response:
        query = request.query_params
        labels = parse_labels(query.get("labelSelector", ""))
        selected = parse_fields(query.get("fieldSelector", ""), fields)
        chosen = [o for o in items if labels.matches(o["metadata"].get("labels", {})) and selected.matches_fields(o)]
        version = str(await self._resources.read(tables.current_version))
        form = wanted_form(request.headers.get("accept", ""))
        if form == "Table":
            return answer(table(chosen, columns, version=version, include=query.get("includeObject", "")))
        shown = [partial_metadata(o) for o in chosen] if form else chosen
        meta = {"resourceVersion": version}
        return answer({"kind": f"{kind}List", "apiVersion": "v1", "metadata": meta, "items": shown})


def _one(request: Request, obj: Obj, columns: tuple[Column, ...]) -> Response:
    form = wanted_form(request.headers.get("accept", ""))
    if form == "Table":
        return answer(table([obj], columns, version="", include=request.query_params.get("includeObject", "")))
    return answer(partial_metadata(obj) if form else obj)


def _namespace(name: str) -> Obj:
    labels = {"kubernetes.io/metadata.name": name}
    meta = {"name": name, "labels": labels, "resourceVersion": "1", "uid": f"namespace-{name}"}
    return {
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": meta,
        "spec": {"finalizers": []},
        "status": {"phase": "Active"},
    }


def _refuse_watch(request: Request) -> None:
    if request.query_params.get("watch") in ("true", "1"):
        raise RequestRefused(405, "MethodNotAllowed", "these cannot be watched here", hint="list them again")
