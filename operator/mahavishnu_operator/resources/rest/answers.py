"""What the REST server answers with: JSON, and Status objects for errors.

kubectl and client libraries decide by `code` and `reason` and show `message` and `details.causes`, so an
error of ours becomes exactly those. What must stay true: every error body is a Status; what is no error of
ours on purpose says nothing about our insides.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from starlette.responses import Response

from mahavishnu_operator.api.reasons import GROUP
from mahavishnu_operator.resources.embedded.writes import Replaced
from mahavishnu_operator.resources.ownership import ApplyConflict
from mahavishnu_operator.resources.protocol import Expired, Kind, Obj
from mahavishnu_operator.support.errors import Conflict, InvalidInput, MahavishnuError, NotFound


class RequestRefused(MahavishnuError):
    """The request itself cannot be served, whatever the objects are like; `code` is the HTTP status."""

    def __init__(self, code: int, reason: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint, reason=reason)
        self.code = code


def json_bytes(value: Any) -> bytes:
    """Compact JSON in ASCII: no string can fail to be encoded."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def answer(value: Any, *, code: int = 200, warnings: Iterable[str] = ()) -> Response:
    """A JSON response; warnings become headers that kubectl prints."""
    response = Response(json_bytes(value), status_code=code, media_type="application/json")
    for warning in list(warnings)[:32]:
        text = warning.encode("ascii", "replace").decode().replace("\\", "\\\\").replace('"', '\\"')
        printable = "".join(c if c.isprintable() else " " for c in text)
        response.headers.append("Warning", f'299 - "{printable[:1024]}"')
    return response


def code_and_reason(error: MahavishnuError) -> tuple[int, str]:
    """The HTTP status and the reason that the API server would give."""
    match error:
        case RequestRefused():
            return error.code, error.reason
        case Replaced():
            return 409, "Conflict"
        case NotFound():
            return 404, "NotFound"
        case Conflict():
            return 409, error.reason
        case Expired():
            return 410, "Expired"
        case InvalidInput(reason="BadRequest"):
            return 400, "BadRequest"
        case InvalidInput():
            return 422, "Invalid"
        case _:
            return 503, error.reason


def status_of(error: MahavishnuError, *, kind: Kind | None = None, name: str = "") -> Obj:
    """The Status object of an error, on an object where one is named."""
    code, reason = code_and_reason(error)
    details: Obj = {"name": name} if name else {}
    if kind is not None:
        details |= {"group": GROUP, "kind": kind.kind if code == 422 else kind.plural}
    if causes := _causes(error):
        details["causes"] = causes
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": str(error),
        "reason": reason,
        **({"details": details} if details else {}),
        "code": code,
    }


def _causes(error: MahavishnuError) -> list[Obj]:
    if isinstance(error, ApplyConflict):
        return [
            {"reason": "FieldManagerConflict", "message": f'conflict with "{manager}"', "field": path}
            for manager, path in error.conflicts
        ]
    if isinstance(error, InvalidInput) and error.reason != "BadRequest":
        violations = getattr(error, "violations", ())
        return [{"reason": "FieldValueInvalid", "message": v.message, "field": v.field} for v in violations] or [
            {"reason": "FieldValueInvalid", "message": str(error), "field": "<nil>"}
        ]
    return []
