"""What every HTTP server of ours does that is no dispatcher."""

from __future__ import annotations

import asyncio
import http.client
import time

import httpx2
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from mahavishnu_operator.control.serving import listen, serve


async def test_a_connection_is_kept_for_longer_than_an_agents_client_keeps_it() -> None:
    async def hello(_request: object) -> PlainTextResponse:
        return PlainTextResponse("hello")

    listener = listen("127.0.0.1", 0)
    kept = httpx2.Limits().keepalive_expiry
    assert kept is not None

    def ask_twice() -> list[bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=20)
        connection.auto_open = 0  # no second connection unseen
        connection.connect()
        answers = []
        for pause in (kept + 1, 0):
            connection.request("GET", "/")
            answers.append(connection.getresponse().read())
            time.sleep(pause)  # what is tested is time
        connection.close()
        return answers

    async with serve(Starlette(routes=[Route("/", hello)]), listener):
        assert await asyncio.to_thread(ask_twice) == [b"hello", b"hello"]
