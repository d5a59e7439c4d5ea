"""The ASGI application of the embedded API server."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from mahavishnu_operator.resources.embedded import EmbeddedResources
from mahavishnu_operator.support.errors import MahavishnuError

from .answers import RequestRefused, answer, code_and_reason, status_of
from .core import core_routes
from .discovery import discovery_routes
from .guard import Guard
from .objects import object_routes
from .openapi import openapi_routes

_REASONS = {404: "NotFound", 405: "MethodNotAllowed"}


def api_app(
    resources: EmbeddedResources,
    *,
    allowed_hosts: Collection[str] = (),
    token: str | None = None,
    extra_routes: Sequence[BaseRoute] = (),
) -> Starlette:
    """The embedded objects by Kubernetes REST conventions, and `extra_routes` behind the same guard.

    Loopback names are always served, `allowed_hosts` besides. With a token, every request but probes must
    bear it. Open watches keep a graceful shutdown waiting: close the resources first.
    """
    app = Starlette(
        routes=[
            *discovery_routes(),
            *openapi_routes(),
            *core_routes(resources),
            *object_routes(resources),
            *extra_routes,
        ],
        middleware=[Middleware(Guard, allowed_hosts=allowed_hosts, token=token)],
        exception_handlers={HTTPException: _not_served, MahavishnuError: _refused, Exception: _defect},
    )
    app.router.redirect_slashes = False
    return app


async def _not_served(request: Request, error: Exception) -> Response:
    code = error.status_code if isinstance(error, HTTPException) else 500
    words = {
        404: f"there is nothing at {request.url.path}",
        405: f"{request.method} is not possible at {request.url.path}",
    }
    refusal = RequestRefused(code, _REASONS.get(code, "Unknown"), words.get(code, str(error)))
    return answer(status_of(refusal), code=code)


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, MahavishnuError):
        raise error
    return answer(status_of(error), code=code_and_reason(error)[0])


async def _defect(request: Request, error: Exception) -> Response:
    refusal = RequestRefused(500, "InternalError", "an internal error occurred", hint="the server's log has it")
    return answer(status_of(refusal), code=500)
