from __future__ import annotations

import asyncio

import pytest

from mahavishnu_operator.mcp_gateway.remembered import Remembered


class Server:
    """Answers how often it was asked."""

    def __init__(self) -> None:
        self.asked, self.now, self.fails = 0, 0.0, False

    async def ask(self) -> int:
        self.asked += 1
        await asyncio.sleep(0)
        if self.fails:
            raise OSError("away")
        return self.asked


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def remembered(server: Server) -> Remembered[str, int]:
    return Remembered(seconds=10, most=2, clock=lambda: server.now)


async def test_an_answer_is_used_again_until_its_time_is_over(server: Server, remembered: Remembered[str, int]) -> None:
    answers = []
    for server.now in (0.0, 9.9, 10.0, 19.0):
        answers.append(await remembered.get("k", server.ask))
    assert answers == [1, 1, 2, 2]


async def test_who_asks_at_the_same_time_is_answered_together(server: Server, remembered: Remembered[str, int]) -> None:
    assert await asyncio.gather(*(remembered.get("k", server.ask) for _ in range(50))) == [1] * 50


async def test_a_failure_is_not_remembered(server: Server, remembered: Remembered[str, int]) -> None:
    server.fails = True
    with pytest.raises(OSError, match="away"):
        await remembered.get("k", server.ask)
    server.fails = False
    assert await remembered.get("k", server.ask) == 2


async def test_no_more_answers_are_held_than_were_said(server: Server, remembered: Remembered[str, int]) -> None:
    for key in ("a", "b", "c"):
        await remembered.get(key, server.ask)
    assert len(remembered) == 2
    assert await remembered.get("c", server.ask) == 3
    assert await remembered.get("a", server.ask) == 4


async def test_whoever_goes_away_takes_the_answer_from_nobody(server: Server, remembered: Remembered[str, int]) -> None:
    first, second = (asyncio.create_task(remembered.get("k", server.ask)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 1
