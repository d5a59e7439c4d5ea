"""A notice ends the call of who sends it, and no other; nothing is kept of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from mahavishnu_operator.mcp_gateway.cancelling import MOST_BYTES, SESSION, Cancelling


async def server(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers 200; a tool call only when the client is gone."""
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message.get("more_body", False):
            break
    if b"tools/call" in body:
        assert (await receive())["type"] == "http.disconnect"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


class Connection:
    """A client's connection, which it keeps open."""

    def __init__(self, app: Cancelling, message: Any, session: str | None = None) -> None:
        self.body = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.answers: list[Message] = []
        self.gone = asyncio.Event()
        headers = [(SESSION.encode(), session.encode())] if session else []
        scope = {"type": "http", "method": "POST", "headers": headers}
        self._parts = iter([self.body[:10], self.body[10:]])
        self.served = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self) -> Message:
        for part in self._parts:
            return {"type": "http.request", "body": part, "more_body": part == self.body[:10]}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.answers.append(message)


def call(number: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {}}


def notice(number: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_notice_ends_the_call_of_its_sender_and_number_alone() -> None:
    app = Cancelling(server)
    calls = {key: Connection(app, call(key[1]), key[0]) for key in (("ann", 3), ("ann", 4), ("ann", "3"), ("bob", 3))}
    await settled()
    assert app.serving == 4
    await Connection(app, notice(3), "ann").served
    await asyncio.wait_for(calls.pop(("ann", 3)).served, 10)
    await settled()
    assert not any(each.served.done() for each in calls.values())
    for each in calls.values():
        each.gone.set()
        await asyncio.wait_for(each.served, 10)
    assert app.serving == 0


@pytest.mark.parametrize(
    "message",
    [
        notice(9),
        {**notice(3), "params": [3]},
        {**notice(3), "params": {"requestId": {}}},
        [notice(3)],
        b"{",
        b"[" * 99999,
    ],
    ids=["other number", "no object", "no number", "many at once", "no JSON", "nested"],
)
async def test_what_is_no_notice_of_a_call_ends_none(message: Any) -> None:
    app = Cancelling(server)
    served = Connection(app, call(3), "ann")
    await settled()
    await Connection(app, message, "ann").served
    await Connection(app, notice(3)).served
    await settled()
    assert not served.served.done()
    served.gone.set()
    await served.served


async def test_who_begins_is_given_a_name_and_nobody_else() -> None:
    app = Cancelling(server)
    names: list[bytes] = []
    for method in ("initialize", "initialize", "tools/list"):
        connection = Connection(app, {"id": 1, "method": method})
        await connection.served
        names.append(dict(connection.answers[0]["headers"]).get(SESSION.encode(), b""))
    assert len(names[0]) == len(names[1]) == 32
    assert names[0] != names[1]
    assert names[2] == b""


async def test_a_request_that_is_too_long_to_be_looked_into_is_served() -> None:
    app = Cancelling(server)
    served = Connection(app, {**call(3), "params": "x" * MOST_BYTES}, "ann")
    await settled()
    assert app.serving == 0
    served.gone.set()
    await asyncio.wait_for(served.served, 10)
