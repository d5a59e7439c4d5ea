"""One aiohttp session to one API server: headers and TLS of now, answers as JSON, failures in our words.

The pressure: a call can fail in the network, in TLS, by time, by an HTTP status or by an answer that is no
JSON, and a reconciler must know just one thing: is it worth asking again? What must stay true: everything
that may pass by itself is Unreachable; every call has a deadline; a refused credential is fetched anew
once before it is Forbidden; messages carry the server's own words.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from mahavishnu_operator.support.errors import Conflict, InvalidInput, MahavishnuError, NotFound

from .connection import Connection
from .credentials import Credential, ExecCredentials, TokenFile
from .protocol import Expired, Forbidden, Silent, Unreachable

CALL_TIMEOUT = 30.0
CONNECT_TIMEOUT = 10.0
KEEPALIVE = 4.0  # below what servers keep: else a request may meet a connection that the server is just closing
USER_AGENT = "mahavishnu-operator"

Query = Mapping[str, str]


class ApiSession:
    """Calls to one server. The session opens at the first call, in the running event loop."""

    def __init__(self, connection: Connection, *, timeout: float = CALL_TIMEOUT) -> None:
        self._connection = connection
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None
        self._credentials = credential_source(connection)
        self._tls: tuple[Credential, ssl.SSLContext | None] | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Any:
        """The JSON answer of one call."""
        async with self.open(method, path, query=query, body=body, content_type=content_type) as response:
            text = await response.read()
        try:
            return msgspec.json.decode(text)
        except ValueError:
            raise Unreachable(f"{self._connection.server}{path} answered no JSON: {text[:200]!r}") from None

    async def fetch(self, path: str) -> bytes:
        """The body of a GET as it is."""
        async with self.open("GET", path) as response:
            return await response.read()

    @asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        content_type: str = "application/json",
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        total: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response whose status is good, open for reading; `total` is its deadline in seconds, not the usual one."""
        arguments: dict[str, Any] = {
            "params": query or {},
            "timeout": aiohttp.ClientTimeout(total=total or self._timeout, sock_connect=CONNECT_TIMEOUT),
        }
        arguments["headers"] = dict(headers or {})
        if data is not None:
            arguments["data"] = data
            arguments["headers"]["Content-Type"] = "application/octet-stream"
        if body is not None:
            arguments["data"] = as_json(body)
            arguments["headers"]["Content-Type"] = content_type
        try:
            async with await self._request(method, path, arguments) as response:
                if response.status >= 400:
                    raise error_of(response.status, await response.read(), f"{method} {response.url}")
                try:
                    yield response
                finally:
                    _abandon_rest(response)
        except TimeoutError:
            raise Unreachable(
                f"{self._connection.server} did not answer {method} {path} in {total or self._timeout:g} s"
            ) from None
        except aiohttp.ClientSSLError as error:
            raise Unreachable(
                f"no trusted connection to {self._connection.server}: {error}", hint="check the server's certificate"
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(
                f"{self._connection.server} cannot be reached: {error or type(error).__name__}",
                hint="is it running, and is the address right?",
            ) from None

    async def _request(self, method: str, path: str, arguments: dict[str, Any]) -> aiohttp.ClientResponse:
        response = await self._request_once(method, path, arguments)
        if response.status == 401 and self._credentials is not None:
            response.release()
            self._credentials.forget()
            response = await self._request_once(method, path, arguments)
        return response

    async def _request_once(self, method: str, path: str, arguments: dict[str, Any]) -> aiohttp.ClientResponse:
        credential = Credential(self._connection.token)
        if self._credentials is not None:
            credential = await self._credentials.current()
        headers = dict(arguments.get("headers", {}))
        if credential.token:
            headers["Authorization"] = f"Bearer {credential.token}"
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(keepalive_timeout=KEEPALIVE, limit=0),
                headers={"User-Agent": USER_AGENT, "Accept": "application/json"},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        context = self._ssl(credential)
        return await self._session.request(
            method,
            self._connection.server + path,
            **{**arguments, "headers": headers},
            allow_redirects=False,
            ssl=True if context is None else context,
            server_hostname=self._connection.tls_server_name,
        )

    def _ssl(self, credential: Credential) -> ssl.SSLContext | None:
        """One context as long as the client certificate stays: connections are pooled by context."""
        if self._tls is None or self._tls[0].client_cert != credential.client_cert:
            self._tls = (credential, self._connection.ssl_context(credential))
        return self._tls[1]


def _abandon_rest(response: aiohttp.ClientResponse) -> None:
    """Drop the connection of a body left unread, as of every watch: before Python 3.12.8 its TLS would never end."""
    connection = response.connection  # None once the body has been read
    if connection is not None and connection.transport is not None:
        connection.transport.abort()


def credential_source(connection: Connection) -> TokenFile | ExecCredentials | None:
    """Where credentials that change come from, for one event loop; None: the connection's own do not change."""
    if connection.token_file is not None:
        return TokenFile(connection.token_file)
    if connection.exec_plugin is not None:
        return ExecCredentials(connection.exec_plugin)
    return None


def as_json(value: Any) -> bytes:
    """JSON of the value. Half a character, as in a file's name that is no text, is escaped: servers replace it."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def error_of(status: int, body: bytes, call: str) -> MahavishnuError:
    """The error for an HTTP status of 400 or more, with the words of the Status object in the body."""
    try:
        told = msgspec.json.decode(body)
        words, reason = str(told.get("message") or ""), str(told.get("reason") or "")
    except (ValueError, AttributeError):
        words, reason = body[:500].decode("utf-8", "replace").strip(), ""
    message = words or f"{call} was answered with HTTP {status}"
    match status:
        case 404:
            return NotFound(message)
        case 409:
            return Conflict(message, reason=reason or None)
        case 410:
            return Expired(message)
        case 401 | 403:
            return Forbidden(message, hint="check the credentials and their rights")
        case 408 | 429:
            return Unreachable(message)
        case 500 if words.startswith("failed to create typed patch object"):
            return InvalidInput(message)  # how the API server refuses an unknown field in an apply
        case _ if status >= 500:
            return Unreachable(f"{call} was answered with HTTP {status}: {message}")
        case _:
            return InvalidInput(message, reason=reason or None)


async def lines_of(response: aiohttp.ClientResponse, *, idle: float, longest: int) -> AsyncIterator[bytes]:
    """The lines of a stream as they come, without their ends.

    Silent: nothing came for `idle` seconds. Unreachable: a line is longer than `longest` bytes, the stream broke, or
    it ended within a line.
    """
    rest = b""
    while True:
        try:
            async with asyncio.timeout(idle):
                chunk = await response.content.readany()
        except TimeoutError:
            raise Silent(f"{response.url.origin()} was silent for {idle:g} s on a watch") from None
        if not chunk:
            if rest:
                raise Unreachable(f"{response.url.origin()} ended a watch within a line")
            return
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line
        if len(rest) > longest:
            raise Unreachable(f"{response.url.origin()} sent a line of more than {longest} bytes on a watch")
