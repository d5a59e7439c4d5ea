"""What kubectl asks first: the version, the groups, and the resources with their verbs and short names."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mahavishnu_operator import __version__
from mahavishnu_operator.api.reasons import API_VERSION, GROUP, VERSION
from mahavishnu_operator.resources import schemas
from mahavishnu_operator.resources.protocol import KINDS, OUR_BUILD, Kind

from .answers import answer

KUBERNETES_MINOR = "35"  # the release whose conventions these are
OBJECT_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
PART_VERBS = ["get", "patch", "update"]


def discovery_routes() -> list[Route]:
    """The endpoints of discovery."""
    answers = {
        "/version": version_info,
        "/api": lambda: {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
        "/api/v1": core_resources,
        "/apis": lambda: {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group()]},
        f"/apis/{GROUP}": lambda: {"kind": "APIGroup", "apiVersion": "v1", **group()},
        f"/apis/{API_VERSION}": own_resources,
    }
    return [_route(path, made) for path, made in answers.items()]


def _route(path: str, made: Any) -> Route:
    async def endpoint(request: Request) -> Response:
        return answer(made())

    return Route(path, endpoint, methods=["GET"])


def version_info() -> dict[str, str]:
    """What /version says."""
    return {
        "major": "1",
        "minor": KUBERNETES_MINOR,
        "gitVersion": f"v1.{KUBERNETES_MINOR}.0{OUR_BUILD}{__version__}",
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "",
    }


def group() -> dict[str, Any]:
    """Our group with its one version."""
    version = {"groupVersion": API_VERSION, "version": VERSION}
    return {"name": GROUP, "versions": [version], "preferredVersion": version}


def own_resources() -> dict[str, Any]:
    """Our kinds and their subresources."""
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": API_VERSION,
        "resources": [resource for kind in KINDS for resource in _resources(kind)],
    }


def core_resources() -> dict[str, Any]:
    """Namespaces and Events."""
    namespaces = {
        "name": "namespaces",
        "singularName": "namespace",
        "namespaced": False,
        "kind": "Namespace",
        "verbs": ["get", "list"],
        "shortNames": ["ns"],
    }
    events = {
        "name": "events",
        "singularName": "event",
        "namespaced": True,
        "kind": "Event",
        "verbs": ["create", "get", "list", "patch"],
        "shortNames": ["ev"],
    }
    return {"kind": "APIResourceList", "groupVersion": "v1", "resources": [namespaces, events]}


def _resources(kind: Kind) -> list[dict[str, Any]]:
    names = schemas.names(kind)
    shared = {"singularName": "", "namespaced": True, "verbs": PART_VERBS}
    found = [
        {
            "name": kind.plural,
            "singularName": kind.singular,
            "namespaced": True,
            "kind": kind.kind,
            "verbs": OBJECT_VERBS,
            "shortNames": names.get("shortNames", []),
            "categories": names.get("categories", []),
        },
        {"name": f"{kind.plural}/status", "kind": kind.kind, **shared},
    ]
    if schemas.has_scale(kind):
        scale = {"name": f"{kind.plural}/scale", "kind": "Scale", "group": "autoscaling", "version": "v1"}
        found.append(scale | shared)
    return found
