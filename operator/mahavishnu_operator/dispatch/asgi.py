"""Reading a request at ASGI level: its token, its body within bounds, its JSON.

The pressure: the caller may be hostile, slow, or gone in the middle of a body. What must stay true: no more
than `limit` bytes are kept; every failure is a CallRefused in words.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, TypeVar

import msgspec

from .errors import CallRefused, SessionUnknown, TooLarge

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
B = TypeVar("B")

BODY_SECONDS = 30.0  # without a byte of the body


def bearer(scope: Scope, *, missing: type[CallRefused] = SessionUnknown) -> str:
    """The token of the call; `missing` is raised when there is none."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, token = value.partition(b" ")
            if kind.lower() == b"bearer" and token:
                return str(token.strip().decode("latin-1"))
    raise missing("the call carries no `Authorization: Bearer TOKEN` header")


def decoded(decoder: msgspec.json.Decoder[B], body: bytes) -> B:
    """The body as the struct that the call takes."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CallRefused(f"the body is not what this call takes: {error}", hint="see docs/adr/0002") from None


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body. TooLarge past the limit; 400 when it stops coming."""
    message = await _next(receive)
    body: bytes = message["body"]
    if not message.get("more_body"):
        if len(body) > limit:
            raise TooLarge(f"the body has {len(body)} bytes; at most {limit}")
        return body
    parts = bytearray(body)
    while message.get("more_body"):
        message = await _next(receive)
        parts += message["body"]
        if len(parts) > limit:
            raise TooLarge(f"the body has over {limit} bytes", hint="send less at once")
    return bytes(parts)


async def body_pieces(receive: Receive, limit: int) -> AsyncIterator[bytes]:
    """The body as it comes, for what is not held whole. TooLarge past the limit; 400 when it stops coming."""
    length, more = 0, True
    while more:
        message = await _next(receive)
        length += len(message["body"])
        if length > limit:
            raise TooLarge(f"the body has over {limit} bytes", hint="send less")
        yield message["body"]
        more = bool(message.get("more_body"))


def header(scope: Scope, name: bytes) -> str:
    """The value of a header, empty when it is not there."""
    return next((value.decode("latin-1").strip() for key, value in scope["headers"] if key == name), "")


async def _next(receive: Receive) -> Message:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            message = await receive()
    except TimeoutError:
        raise CallRefused(f"no byte of the body came for {BODY_SECONDS:g} s", reason="RequestTimeout") from None
    if message["type"] == "http.disconnect":
        raise CallRefused("the connection ended in the middle of the body", reason="ClientGone")
    return message
