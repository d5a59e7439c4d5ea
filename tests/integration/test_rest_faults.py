"""Our REST client against servers that misbehave: each fault becomes the one error that callers act on."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from mahavishnu_operator.resources.protocol import WORKER_POOL, Expired, Forbidden, Key, Unreachable, WatchEvent
from mahavishnu_operator.support.errors import Conflict, InvalidInput, MahavishnuError, NotFound

from .serving import serving

EVENT = b'{"type":"ADDED","object":{"metadata":{"name":"p","resourceVersion":"7"}}}\n'
Answer = Callable[[Request], Awaitable[Response]]


@asynccontextmanager
async def client_of(answer: Answer, *, timeout: float = 5.0, idle: float = 5.0) -> AsyncIterator[KubernetesResources]:
    async with serving(Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "PATCH"])])) as url:
        client = KubernetesResources(Connection.from_url(url), timeout=timeout, idle_seconds=idle)
        yield client
        await client.close()


def always(code: int, text: str = "", *, reason: str = "") -> Answer:
    async def answer(request: Request) -> Response:
        body = json.dumps({"kind": "Status", "message": text, "reason": reason}) if reason else text
        return PlainTextResponse(body, status_code=code)

    return answer


def streaming(*chunks: bytes, hang: bool = False) -> Answer:
    async def answer(request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield chunk
            if hang:
                await asyncio.Event().wait()  # until the client leaves

        return StreamingResponse(body())

    return answer


async def watch(client: KubernetesResources) -> list[WatchEvent]:
    return [event async for event in client.watch(WORKER_POOL, since="1")]


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (always(503, "overloaded", reason="ServiceUnavailable"), Unreachable, "overloaded"),
        (always(429, "slow down", reason="TooManyRequests"), Unreachable, "slow down"),
        (always(500, "boom"), Unreachable, "HTTP 500.*boom"),
        (always(200, "<html>"), Unreachable, "no JSON"),
        (always(401, "who are you", reason="Unauthorized"), Forbidden, "who are you"),
        (always(403, "not you", reason="Forbidden"), Forbidden, "not you"),
        (always(404, "no such pool", reason="NotFound"), NotFound, "no such pool"),
        (always(409, "changed", reason="Conflict"), Conflict, "changed"),
        (always(410, "too old", reason="Expired"), Expired, "too old"),
        (always(422, "spec is wrong", reason="Invalid"), InvalidInput, "spec is wrong"),
        (always(500, "failed to create typed patch object: .x", reason="X"), InvalidInput, "typed patch"),
    ],
)
async def test_an_answer_becomes_the_error_for_it(answer: Answer, error: type[MahavishnuError], words: str) -> None:
    async with client_of(answer) as client:
        with pytest.raises(error, match=words):
            await client.get(WORKER_POOL, Key("default", "p"))


async def test_a_server_that_is_not_there_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    client = KubernetesResources(Connection.from_url(f"http://127.0.0.1:{port}"))
    with pytest.raises(Unreachable, match=f"127.0.0.1:{port} cannot be reached"):
        await client.list(WORKER_POOL)
    await client.close()


async def test_a_call_that_takes_too_long_is_unreachable() -> None:
    async with client_of(streaming(b"{", hang=True), timeout=0.3) as client:
        with pytest.raises(Unreachable, match=r"did not answer GET .* in 0\.3 s"):
            await client.get(WORKER_POOL, Key("default", "p"))


async def test_a_redirect_is_not_followed_with_our_token() -> None:
    async def answer(request: Request) -> Response:
        return RedirectResponse("http://127.0.0.1:1/steal")

    async with client_of(answer) as client:
        with pytest.raises(Unreachable, match="no JSON"):
            await client.get(WORKER_POOL, Key("default", "p"))


async def test_a_watch_ends_when_the_server_ends_it() -> None:
    async with client_of(streaming(EVENT[:20], EVENT[20:] + EVENT)) as client:
        assert [event.object["metadata"]["name"] for event in await watch(client)] == ["p", "p"]


@pytest.mark.parametrize(
    ("chunks", "error", "words"),
    [
        ((EVENT, EVENT[:30]), Unreachable, "within a line"),
        ((b"nonsense\n",), Unreachable, "something else than an event"),
        ((b'{"type":"ADDED","object":{}}\n',), Unreachable, "something else than an event"),
        ((b'{"type":"ERROR","object":{"code":410,"message":"too old"}}\n',), Expired, "too old"),
        ((b'{"type":"ERROR","object":{"code":500,"message":"boom"}}\n',), Unreachable, "boom"),
    ],
)
async def test_a_broken_watch_is_noticed(chunks: tuple[bytes, ...], error: type[MahavishnuError], words: str) -> None:
    async with client_of(streaming(*chunks)) as client:
        with pytest.raises(error, match=words):
            await watch(client)


async def test_a_silent_watch_is_noticed() -> None:
    async with client_of(streaming(EVENT, hang=True), idle=0.3) as client:
        with pytest.raises(Unreachable, match=r"silent for 0\.3 s"):
            await watch(client)


async def test_a_line_without_an_end_is_noticed() -> None:
    async with client_of(streaming(b"x" * 9_000_000)) as client:
        with pytest.raises(Unreachable, match="more than 8388608 bytes"):
            await watch(client)


async def test_a_refused_token_is_read_again_once(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("old")
    seen: list[str] = []

    async def answer(request: Request) -> Response:
        seen.append(request.headers["authorization"])
        (tmp_path / "token").write_text("new")
        code = 200 if seen[-1] == "Bearer new" else 401
        return PlainTextResponse("{}", status_code=code)

    async with serving(Starlette(routes=[Route("/{path:path}", answer)])) as url:
        client = KubernetesResources(Connection(url, token_file=tmp_path / "token"))
        assert await client.get_json("/anything") == {}
        await client.close()
    assert seen == ["Bearer old", "Bearer new"]


async def test_pages_of_a_list_are_joined() -> None:
    pages = {"": (["a"], "next"), "next": (["b"], "")}

    async def answer(request: Request) -> Response:
        names, following = pages[request.query_params.get("continue", "")]
        items = [{"metadata": {"name": name}} for name in names]
        meta = {"resourceVersion": "9", "continue": following}
        return PlainTextResponse(json.dumps({"metadata": meta, "items": items}))

    async with client_of(answer) as client:
        listing = await client.list(WORKER_POOL)
    assert [o["metadata"]["name"] for o in listing.items] == ["a", "b"]
    assert listing.resource_version == "9"
