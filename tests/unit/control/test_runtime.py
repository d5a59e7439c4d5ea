from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from mahavishnu_operator.control.runtime import KeyedQueue, backoff_seconds, earliest
from mahavishnu_operator.support.errors import Conflict


@asynccontextmanager
async def running(
    work: Callable[[str], Awaitable[float | None]], *, concurrency: int = 4, fatal: tuple[type[Exception], ...] = ()
) -> AsyncIterator[KeyedQueue[str]]:
    queue = KeyedQueue(work, name="test", concurrency=concurrency, fatal=fatal)
    task = asyncio.create_task(queue.run())
    try:
        async with asyncio.timeout(5):
            yield queue
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_key_added_many_times_is_worked_on_once() -> None:
    seen: asyncio.Queue[str] = asyncio.Queue()

    async def work(key: str) -> None:
        seen.put_nowait(key)

    async with running(work) as queue:
        for key in ("a", "a", "b", "a"):
            queue.add(key)
        assert [await seen.get(), await seen.get()] == ["a", "b"]
        queue.add("c")
        assert await seen.get() == "c"


async def test_a_key_added_while_it_is_worked_on_is_worked_on_once_more_and_never_twice_at_a_time() -> None:
    entered, go = asyncio.Queue[int](), asyncio.Semaphore(0)
    inside = 0

    async def work(_: str) -> None:
        nonlocal inside
        inside += 1
        entered.put_nowait(inside)
        await go.acquire()
        inside -= 1

    async with running(work) as queue:
        queue.add("a")
        assert await entered.get() == 1
        queue.add("a")
        queue.add("a")
        go.release()
        assert await entered.get() == 1
        go.release()
        queue.add("b")
        assert await entered.get() == 1
        assert entered.empty()


async def test_other_keys_go_on_while_one_is_slow() -> None:
    go, done = asyncio.Event(), asyncio.Event()

    async def work(key: str) -> None:
        if key == "slow":
            await go.wait()
        else:
            done.set()

    async with running(work, concurrency=2) as queue:
        queue.add("slow")
        queue.add("quick")
        await done.wait()
        go.set()


async def test_an_error_is_tried_again() -> None:
    attempts: asyncio.Queue[int] = asyncio.Queue()
    count = 0

    async def work(_: str) -> None:
        nonlocal count
        count += 1
        attempts.put_nowait(count)
        if count == 1:
            raise Conflict("the object changed")

    async with running(work) as queue:
        queue.add("a")
        assert [await attempts.get(), await attempts.get()] == [1, 2]


async def test_what_is_asked_for_later_happens_later() -> None:
    seen: asyncio.Queue[str] = asyncio.Queue()

    async def work(key: str) -> float | None:
        seen.put_nowait(key)
        return None

    async with running(work) as queue:
        queue.add_after("late", 0.05)
        queue.add_after("late", 60)
        queue.add("now")
        assert [await seen.get(), await seen.get()] == ["now", "late"]


async def test_an_answer_of_seconds_is_an_appointment() -> None:
    seen: asyncio.Queue[int] = asyncio.Queue()
    answers = iter([0.01, None])

    async def work(_: str) -> float | None:
        seen.put_nowait(1)
        return next(answers)

    async with running(work) as queue:
        queue.add("a")
        await seen.get()
        await seen.get()


async def test_appointments_that_were_overtaken_are_not_kept() -> None:
    done = asyncio.Event()

    async def work(_: str) -> float:
        done.set()
        return 86400.0

    async with running(work) as queue:
        for _ in range(1000):
            done.clear()
            queue.add("a")
            await done.wait()
        assert queue.appointments < 200


async def test_a_fatal_error_ends_the_queue() -> None:
    async def work(_: str) -> None:
        raise Conflict("another process has taken over")

    queue = KeyedQueue(work, name="test", fatal=(Conflict,))
    queue.add("a")
    async with asyncio.timeout(5):
        with pytest.raises(ExceptionGroup) as caught:
            await queue.run()
    assert caught.group_contains(Conflict)


def test_back_off_doubles_to_half_a_minute() -> None:
    assert [backoff_seconds(n) for n in (1, 2, 3, 8, 100)] == [0.25, 0.5, 1.0, 30.0, 30.0]


def test_the_earliest_of_nothing_is_nothing() -> None:
    assert earliest(None, None) is None
    assert earliest(None, 3.0, 2.0) == 2.0
