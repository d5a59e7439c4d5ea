"""What a request asks for: its body as an object, its query parameters, the form of the answer.

The pressure: bodies come from anywhere, so they are bounded before they are read and refused in words when
they are no object. What must stay true: a parameter that we do not honour is refused, unless leaving it
out gives a right answer too (limit, resourceVersion of a list).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from starlette.requests import Request

from mahavishnu_operator.resources.embedded.writes import Options
from mahavishnu_operator.resources.protocol import Obj
from mahavishnu_operator.support.errors import InvalidInput
from mahavishnu_operator.support.json_text import Unreadable, read_json
from mahavishnu_operator.support.yaml_text import read_yaml

from .answers import RequestRefused

MAX_BODY_BYTES = 3 * 1024 * 1024 // 2

FieldValidation = Literal["Strict", "Warn", "Ignore"]
JSON_TYPES = ("application/json", "application/yaml")
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


@dataclass(frozen=True)
class WriteRequest:
    """The parameters of a write."""

    options: Options
    dry_run: bool
    force: bool
    show_warnings: bool
    manager_named: bool


def write_request(request: Request) -> WriteRequest:
    """The parameters of a write, from query and headers."""
    query = request.query_params
    validation = query.get("fieldValidation") or "Warn"
    if validation not in ("Strict", "Warn", "Ignore"):
        raise InvalidInput(f"fieldValidation {validation!r} is not Strict, Warn or Ignore", reason="BadRequest")
    dry_run = query.getlist("dryRun")
    if any(value not in ("All", "") for value in dry_run):
        raise InvalidInput(f"dryRun {dry_run!r} is not All", reason="BadRequest")
    manager = query.get("fieldManager", "")
    if len(manager) > 128 or not manager.isprintable():
        raise InvalidInput("fieldManager must have at most 128 printable characters", reason="BadRequest")
    agent = request.headers.get("user-agent", "").split("/")[0]
    by_default = agent[:128] if agent and agent.isprintable() else "unknown"
    return WriteRequest(
        Options(manager or by_default, strict=validation == "Strict"),
        dry_run="All" in dry_run,
        force=query.get("force") in ("true", "1"),
        show_warnings=validation == "Warn",
        manager_named=bool(manager),
    )


def content_type(request: Request) -> str:
    """The media type of the body, without its parameters. Some clients (kubectl scale) leave it out and mean JSON."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() or "application/json"


async def read_object(request: Request, *, types: tuple[str, ...] = JSON_TYPES, strict: bool = False) -> Obj:
    """The body as an object."""
    value = await read_value(request, types=types, strict=strict)
    if not isinstance(value, dict):
        raise InvalidInput("the body is no object", reason="BadRequest")
    return value


async def read_value(request: Request, *, types: tuple[str, ...], strict: bool = False) -> Any:
    """The body as a JSON value. `strict` refuses a member that is given twice."""
    if (given := content_type(request)) not in types:
        raise RequestRefused(
            415,
            "UnsupportedMediaType",
            f"a body of type {given!r} is not understood here",
            hint=f"accepted: {', '.join(types)}",
        )
    body = await read_body(request)
    return parse(body, yaml_allowed=given.endswith("yaml"), strict=strict)


async def read_body(request: Request, *, limit: int = MAX_BODY_BYTES) -> bytes:
    """The whole body; RequestRefused (413) as soon as it is too long."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise RequestRefused(
                413, "RequestEntityTooLarge", f"the body has more than {limit} bytes", hint="send a smaller object"
            )
    return bytes(body)


def parse(body: bytes, *, yaml_allowed: bool, strict: bool = False) -> Any:
    """The JSON, or YAML without aliases (they unfold to any size), in these bytes."""
    try:
        try:
            return read_json(body, strict=strict)
        except Unreadable as error:
            if not yaml_allowed or not str(error).startswith("no JSON"):
                raise
        documents = read_yaml(body.decode(), aliases=False)
    except (Unreadable, UnicodeDecodeError) as error:
        raise InvalidInput(f"the body cannot be read: {error}", reason="BadRequest") from None
    if len(documents) != 1:
        raise InvalidInput(f"the body has {len(documents)} YAML documents; one is taken", reason="BadRequest")
    return documents[0]


def wanted_form(accept: str) -> str:
    """The form that the client likes best of those that we have: Table, PartialObjectMetadata(List), or "" for plain.

    RequestRefused (406) when we have none of what it accepts.
    """
    for part in accept.split(",") if accept.strip() else ["*/*"]:
        media, parameters = _media_type(part)
        if media not in ("application/json", "application/*", "*/*"):
            continue
        form = parameters.get("as", "")
        if not form:
            return ""
        if parameters.get("g") == "meta.k8s.io" and parameters.get("v", "v1") == "v1" and form in _FORMS:
            return form
    raise RequestRefused(406, "NotAcceptable", f"nothing we can answer is accepted: {accept[:200]!r}")


_FORMS = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")


def _media_type(part: str) -> tuple[str, Mapping[str, str]]:
    media, *rest = (word.strip() for word in part.split(";"))
    return media.lower(), {name: value for name, _, value in (word.partition("=") for word in rest)}
