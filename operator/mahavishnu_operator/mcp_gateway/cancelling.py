"""A call that is given up by a notice: clients before revision 2026-07-28 send one, and stay connected.

The pressure: people interrupt their agents, and the server keeps no session in which "my call 3" would mean one call.
What must stay true: who initializes is given a name that nobody can guess, and that is kept nowhere; a notice ends the
call with that name and number alone, as if its connection had broken; nothing is kept of a call that has ended. Only
the replica that serves a call can end it so, and a notice that overtakes its call is not heard.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SESSION = "mcp-session-id"
MOST_BYTES = 2 * 1024 * 1024  # of a request that is looked into; a longer one ends with its connection alone


class Cancelling:
    """ASGI around the MCP endpoint of a server without sessions."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._calls: dict[tuple[str, str], asyncio.Event] = {}

    @property
    def serving(self) -> int:
        """How many calls could be cancelled now."""
        return len(self._calls)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        request = _Request(self._calls, Headers(scope=scope).get(SESSION), receive, send)
        try:
            await self._app(scope, request.receive, request.send)
        finally:
            request.forget()


class _Request:
    """One request while it is served: reads along what it is, and breaks it off when it is cancelled."""

    def __init__(
        self, calls: dict[tuple[str, str], asyncio.Event], caller: str | None, receive: Receive, send: Send
    ) -> None:
        self._calls, self._caller, self._receive, self._send = calls, caller, receive, send
        self._body: bytearray | None = bytearray()
        self._key: tuple[str, str] | None = None
        self._cancelled = asyncio.Event()
        self._names_caller = False

    async def receive(self) -> Message:
        """What the server hears: the request, and that the client is gone."""
        if self._key is not None:
            return await self._until_gone()
        message = await self._receive()
        if self._body is not None and message["type"] == "http.request":
            self._body += message.get("body", b"")
            if len(self._body) > MOST_BYTES:
                self._body = None
            elif not message.get("more_body", False):
                self._understand(_message_in(self._body))
                self._body = None
        return message

    async def send(self, message: Message) -> None:
        """What the server answers, with a name for who begins."""
        if self._names_caller and message["type"] == "http.response.start" and message["status"] == 200:
            MutableHeaders(scope=message)[SESSION] = secrets.token_hex(16)
        await self._send(message)

    def forget(self) -> None:
        """It is served."""
        if self._key is not None and self._calls.get(self._key) is self._cancelled:
            del self._calls[self._key]

    def _understand(self, message: dict[str, Any]) -> None:
        method, number = message.get("method"), message.get("id")
        if method == "initialize":
            self._names_caller = True
        elif self._caller is None:
            return
        elif method == "notifications/cancelled":
            params = message.get("params")
            named = params.get("requestId") if isinstance(params, dict) else None
            if (call := self._calls.get((self._caller, json.dumps(named)))) is not None:
                call.set()
        elif number is not None:
            self._key = (self._caller, json.dumps(number))
            self._calls[self._key] = self._cancelled

    async def _until_gone(self) -> Message:
        hearing, waiting = asyncio.ensure_future(self._receive()), asyncio.ensure_future(self._cancelled.wait())
        try:
            await asyncio.wait({hearing, waiting}, return_when=asyncio.FIRST_COMPLETED)
            return hearing.result() if hearing.done() else {"type": "http.disconnect"}
        finally:
            hearing.cancel()
            waiting.cancel()


def _message_in(body: bytearray) -> dict[str, Any]:
    """The one message in a request; nothing where it is none, which the server says for itself."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}
