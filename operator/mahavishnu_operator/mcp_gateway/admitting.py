"""Who is let in where callers are told apart, and the client that each of their calls is made with.

The pressure: tools run deep inside a library, and a call that does not know its caller would be made as the gateway.
What must stay true: every request but a probe shows a token that the API server knows; the caller's client belongs to
one request and what it starts, and to no other; without one there is no client to call with.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from mahavishnu_operator.client import Client
from mahavishnu_operator.client.making import Maker
from mahavishnu_operator.resources.rest.answers import RequestRefused, answer, status_of
from mahavishnu_operator.resources.rest.guard import OPEN_PATHS
from mahavishnu_operator.support.errors import MahavishnuError

from .gateway import acting
from .permitted import Permitted
from .reviews import Identity, Reviews

RETRY_SECONDS = 5


class Callers:
    """The clients of callers, all on the gateway's own one. `everywhere`: a bare name is of the caller's namespace."""

    def __init__(self, client: Client, reviews: Reviews, *, everywhere: bool) -> None:
        self.reviews, self._client, self._everywhere = reviews, client, everywhere

    def client_of(self, who: Identity) -> Client:
        """What one caller's tools stand on: their rights, their name, and their own namespace where they have one."""
        permitted = Permitted(self._client.resources, self.reviews, who)
        return self._client.acting_for(
            Maker.proven(who.username),
            permitted,
            may_watch=permitted.may_watch,
            namespace=(self._everywhere and who.home) or self._client.namespace,
        )


class Admitting:
    """ASGI middleware that lets in whom the API server knows."""

    def __init__(self, app: ASGIApp, *, callers: Callers) -> None:
        self._app, self._callers = app, callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request as its caller, or answer why not."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        try:
            who = await self._identify(Headers(scope=scope))
        except RequestRefused as refused:
            response = answer(status_of(refused), code=refused.code)
            if refused.code == 401:
                response.headers["WWW-Authenticate"] = "Bearer"
            else:
                response.headers["Retry-After"] = str(RETRY_SECONDS)
            await response(scope, receive, send)
            return
        before = acting.set(self._callers.client_of(who))
        try:
            await self._app(scope, receive, send)
        finally:
            acting.reset(before)

    async def _identify(self, headers: Headers) -> Identity:
        audience = self._callers.reviews.audience
        hint = f"kubectl create token ACCOUNT --audience={audience}, or a projected token with that audience"
        given = headers.getlist("authorization")
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        if scheme.lower() != "bearer" or not token.strip():
            raise RequestRefused(401, "Unauthorized", "a bearer token is needed", hint=hint)
        try:
            who = await self._callers.reviews.identify(token.strip())
        except MahavishnuError as error:
            raise RequestRefused(
                503,
                "ServiceUnavailable",
                f"the API server could not say whose token this is: {error.message}",
                hint="try again; the gateway's own account needs `create` on tokenreviews",
            ) from error
        if who is None:
            words = f"the API server knows no user of this token for audience {audience}"
            raise RequestRefused(401, "Unauthorized", f"{words}: it may be of another audience, or expired", hint=hint)
        return who
