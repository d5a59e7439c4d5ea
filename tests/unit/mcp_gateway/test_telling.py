from __future__ import annotations

import asyncio
import contextlib

from fastmcp import Client, Context, FastMCP

from mahavishnu_operator.mcp_gateway.telling import Telling

Heard = list[tuple[float, str | None]]


async def heard_from(speak: object) -> Heard:
    """What the client of a tool that does this is told."""
    heard: Heard = []
    server: FastMCP = FastMCP("test")
    server.tool(speak, name="speak")  # type: ignore[call-overload]

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, message))

    async with Client(server) as client:
        await client.call_tool("speak", progress_handler=hear)
    return heard


async def test_each_notice_has_a_greater_number_and_none_is_said_twice() -> None:
    async def speak(ctx: Context) -> str:
        telling = Telling(ctx)
        for words in ("one", "one", "two"):
            await telling.say(words)
        await telling.of_pool({"status": {"ready": 1}})
        return ""

    told = await heard_from(speak)
    assert told == [(1, "one"), (2, "two"), (3, "1 workers ready, 0 busy, 0 tasks waiting")]


async def test_a_call_that_waits_says_again_and_again_that_it_goes_on() -> None:
    async def speak(ctx: Context) -> str:
        telling = Telling(ctx, beat=0.01)
        await telling.say("running")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await telling.beat()
        return ""

    told = await heard_from(speak)
    assert [number for number, _ in told] == list(range(1, len(told) + 1))
    assert [words for _, words in told[:3]] == ["running", "running; 0 s", "running; 0 s"]
