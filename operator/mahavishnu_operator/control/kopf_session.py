"""The HTTP session that kopf watches with: credentials of now, and a note of when the server was last heard.

The pressure: kopf takes a token once and ends when it is refused, while a Pod's token is replaced every hour; and it
says nothing of a watch on which nothing comes any more, not even the bookmarks that come each minute. What must stay
true: each request carries the credential of now, and a refused one is fetched anew once; every piece of a watch, and
every good answer, is noted under the path it came from.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Any

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.credentials import Credential
from mahavishnu_operator.resources.http import USER_AGENT, credential_source

SILENT_SECONDS = 180.0  # bookmarks come each minute, and kopf opens a silent watch anew after 70 s
ANSWERING_SECONDS = 60.0  # time for kopf to find its way back once the server answers again


class LastHeard:
    """When each watched path was last heard, on the monotonic clock. Written in kopf's thread, read in another."""

    def __init__(self, paths: list[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = dict.fromkeys(paths, clock())

    def note(self, path: str) -> None:
        """The server said something on that path."""
        if path in self._at:
            self._at[path] = self._clock()

    def at(self, path: str) -> float:
        """When that path was last heard; at first, when watching began. KeyError for a path that is not watched."""
        return self._at[path]

    def silent(self, *, answering_since: float | None) -> str:
        """The path that has been silent too long, in words; '' when there is none.

        `answering_since`: since when the server has answered all our other calls; None: it does not answer now. A
        server that is down is no fault of the watch: starting anew would help nobody.
        """
        now = self._clock()
        if answering_since is None or now - answering_since < ANSWERING_SECONDS:
            return ""
        for path, at in self._at.items():
            if now - at > SILENT_SECONDS:
                return f"the watch of {path} has been silent for {now - at:.0f} s while the server answers other calls"
        return ""


class _Noting:
    """The body of a response to kopf's watch, noting when each piece came; all else is the body's own."""

    def __init__(self, content: aiohttp.StreamReader, note: Callable[[], None]) -> None:
        self._content, self._note = content, note

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """The pieces as they come, of at most `size` bytes."""
        async for piece in self._content.iter_chunked(size):
            self._note()
            yield piece


async def open_session(connection: Connection, heard: LastHeard) -> aiohttp.ClientSession:
    """A session for requests to that server alone, to be closed by its user. Forbidden: there is no credential."""
    source = credential_source(connection)
    first = await source.current() if source is not None else Credential(connection.token)

    async def with_credential(request: ClientRequest, send: ClientHandlerType) -> ClientResponse:
        credential = await source.current() if source is not None else first
        if credential.token:
            request.headers["Authorization"] = f"Bearer {credential.token}"
        return await send(request)

    async def middleware(request: ClientRequest, send: ClientHandlerType) -> ClientResponse:
        request.server_hostname = connection.tls_server_name
        response = await with_credential(request, send)
        if response.status == HTTPStatus.UNAUTHORIZED and source is not None:
            response.release()
            source.forget()
            response = await with_credential(request, send)
        if response.status == HTTPStatus.OK:
            path = request.url.path
            heard.note(path)
            response.content = _Noting(response.content, lambda: heard.note(path))  # type: ignore[assignment]
        return response

    context = connection.ssl_context(first)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=True if context is None else context),
        headers={"User-Agent": USER_AGENT, "Accept": "application/json"},
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=(middleware,),
    )
