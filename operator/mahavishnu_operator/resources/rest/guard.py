"""Who may speak to a server on loopback: the checks before any endpoint is reached.

The pressure: every web page that a person opens can send requests to 127.0.0.1, and by DNS rebinding even
read the answers. So the Host header must be a name that we know, an Origin must be our own, and where a
token is set it must be given. What must stay true: this is ASGI around everything, also around what others
mount; a refusal is a Status in words.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from .answers import RequestRefused, answer, status_of

OPEN_PATHS = ("/health", "/healthz", "/livez", "/readyz")  # probes have no token


class Guard:
    """ASGI middleware that refuses foreign hosts, foreign origins and missing tokens.

    `allowed_hosts`: names or addresses, without port, that are served besides those of loopback.
    `hint`: where whoever lacks the token finds it.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        allowed_hosts: Collection[str],
        token: str | None,
        hint: str = "use the kubeconfig that the server wrote",
    ) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in allowed_hosts)
        self._token = token.encode() if token else None
        self._hint = hint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer why not."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            self._check(Headers(scope=scope), scope["path"])
        except RequestRefused as refusal:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": refusal.message[:120]})
            else:
                response = answer(status_of(refusal), code=refusal.code)
                if refusal.code == 401:
                    response.headers["WWW-Authenticate"] = "Bearer"
                await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, headers: Headers, path: str) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            raise RequestRefused(
                403,
                "Forbidden",
                f"host {', '.join(hosts)[:200]!r} is not served here",
                hint="use a loopback address, or start the server with that name allowed",
            )
        for origin in headers.getlist("origin"):
            if urlsplit(origin).netloc.lower() != hosts[0].lower():
                raise RequestRefused(
                    403, "Forbidden", f"requests from web pages of {origin[:200]!r} are not served here"
                )
        if self._token is not None and path not in OPEN_PATHS:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            same = hmac.compare_digest(given.strip().encode("utf-8", "replace"), self._token)
            if scheme.lower() != "bearer" or not same:
                raise RequestRefused(401, "Unauthorized", "a bearer token is needed", hint=self._hint)

    def _is_ours(self, host: str) -> bool:
        name = host_name(host)
        if name is None:
            return False
        if name == "localhost" or name in self._hosts:
            return True
        try:
            return ip_address(name).is_loopback
        except ValueError:
            return False


def host_name(host: str) -> str | None:
    """The name or address in a Host header, in small letters, without port and brackets; None if it is none."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises when it is no number
    except ValueError:
        return None
    if parts.netloc != host or "@" in host or parts.hostname is None:
        return None
    return parts.hostname.rstrip(".")
