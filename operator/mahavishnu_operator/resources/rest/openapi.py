"""OpenAPI v3 of the served kinds, from the CRDs' schemas: for `kubectl explain`, `apply` and validation.

kubectl asks here whether the server validates fields itself (the parameter fieldValidation of a PATCH), and
takes field documentation from the schemas. What must stay true: nothing is described that is not served.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mahavishnu_operator.api.reasons import API_VERSION, GROUP, VERSION
from mahavishnu_operator.resources import schemas
from mahavishnu_operator.resources.protocol import KINDS, Kind

from .answers import answer, json_bytes

ROOT = f"apis/{API_VERSION}"
WRITE_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation")


def openapi_routes() -> list[Route]:
    """The endpoints of OpenAPI v3."""

    async def root(request: Request) -> Response:
        url = f"/openapi/v3/{ROOT}?hash={_digest()}"
        return answer({"paths": {ROOT: {"serverRelativeURL": url}}})

    async def document(request: Request) -> Response:
        return Response(_document(), media_type="application/json", headers={"ETag": f'"{_digest()}"'})

    return [Route("/openapi/v3", root, methods=["GET"]), Route(f"/openapi/v3/{ROOT}", document, methods=["GET"])]


@cache
def _digest() -> str:
    return hashlib.sha256(_document()).hexdigest()[:32].upper()


@cache
def _document() -> bytes:
    paths: dict[str, Any] = {}
    for kind in KINDS:
        collection = f"/apis/{API_VERSION}/namespaces/{{namespace}}/{kind.plural}"
        paths[collection] = {"post": _operation(kind, "post")}
        paths[f"{collection}/{{name}}"] = {
            "get": _operation(kind, "get"),
            "put": _operation(kind, "put"),
            "patch": _operation(kind, "patch"),
        }
    return json_bytes(
        {
            "openapi": "3.0.0",
            "info": {"title": "mahavishnu", "version": VERSION},
            "paths": paths,
            "components": {"schemas": {_name(kind): _schema(kind) for kind in KINDS} | {META: META_SCHEMA}},
        }
    )


def _operation(kind: Kind, verb: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "x-kubernetes-action": verb,
        "x-kubernetes-group-version-kind": {"group": GROUP, "version": VERSION, "kind": kind.kind},
        "responses": {
            "200": {
                "description": "OK",
                "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{_name(kind)}"}}},
            }
        },
    }
    if verb != "get":
        found["parameters"] = [
            {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
            for name in (*WRITE_PARAMETERS, *(("force",) if verb == "patch" else ()))
        ]
    return found


def _name(kind: Kind) -> str:
    return ".".join([*reversed(GROUP.split(".")), VERSION, kind.kind])


def _schema(kind: Kind) -> dict[str, Any]:
    schema = schemas.schema(kind)
    head = {
        "apiVersion": {"type": "string", "description": f"{API_VERSION}"},
        "kind": {"type": "string", "description": kind.kind},
        "metadata": {"description": "Standard object metadata.", "allOf": [{"$ref": f"#/components/schemas/{META}"}]},
    }
    return {
        **schema,
        "properties": {**schema["properties"], **head},
        "x-kubernetes-group-version-kind": [{"group": GROUP, "version": VERSION, "kind": kind.kind}],
    }


META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
META_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "ObjectMeta is the metadata that all objects have.",
    "properties": {
        "name": {"type": "string", "description": "Name, unique in the namespace."},
        "generateName": {"type": "string", "description": "Prefix of a name that the server completes."},
        "namespace": {"type": "string", "description": "Namespace of the object."},
        "labels": {**_STRINGS, "description": "Labels to select by."},
        "annotations": {**_STRINGS, "description": "Notes of tools and people."},
    },
}
