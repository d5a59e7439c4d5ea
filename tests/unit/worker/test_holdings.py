from __future__ import annotations

import asyncio
import time

import pytest

from mahavishnu_operator.api.wire import (
    INLINE_PAYLOAD_BYTES,
    STREAM_TAIL_BYTES,
    CommandTask,
    Grant,
    Hold,
    NoopTask,
    TaskResult,
)
from mahavishnu_operator.worker.conversation import Work
from mahavishnu_operator.worker.delivery import MAX_REQUEST_BYTES, fitting
from mahavishnu_operator.worker.holdings import MAX_MESSAGE, Held, Holdings, result_of
from mahavishnu_operator.worker.messages import Done

COMMAND = CommandTask(argv=("true",), allowed=("true",))


def grant(number: int = 1, *, spec: CommandTask | NoopTask = COMMAND, lease: float = 15.0) -> Grant:
    return Grant(f"job/t{number}", 1, epoch=1, lease_seconds=lease, timeout_seconds=60.0, spec=spec)


def hold(number: int = 1) -> Hold:
    return Hold(f"job/t{number}", 1)


def holding(*grants: Grant, granted_at: float | None = None) -> Holdings:
    holdings = Holdings()
    for one in grants:
        holdings.take(one, granted_at=time.monotonic() if granted_at is None else granted_at)
    return holdings


async def soon(holdings: Holdings) -> Held:
    async with asyncio.timeout(10):
        return await holdings.next_to_start()


async def does_not_start(holdings: Holdings) -> asyncio.Task[Held]:
    """A slot that waits: it had every chance to take something."""
    starting = asyncio.create_task(holdings.next_to_start())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not starting.done()
    return starting


async def test_a_no_op_is_done_when_it_comes() -> None:
    (held,) = holding(grant(spec=NoopTask())).all
    assert held.result is not None
    assert held.result.status == "succeeded"


async def test_a_task_starts_under_a_good_lease() -> None:
    held = await soon(holding(grant()))
    assert held.hold == hold()
    assert held.started_at is not None


async def test_a_task_whose_lease_may_be_over_waits_for_a_renewal() -> None:
    holdings = holding(grant(lease=15.0), granted_at=time.monotonic() - 16.0)
    starting = await does_not_start(holdings)
    holdings.renewed([hold()], asked_at=time.monotonic())
    assert (await starting).hold == hold()


async def test_a_lease_that_was_lost_while_it_waited_is_never_started() -> None:
    holdings = holding(grant(1, lease=1.0), granted_at=time.monotonic() - 2.0)
    starting = await does_not_start(holdings)
    holdings.drop(hold(1))
    holdings.take(grant(2), granted_at=time.monotonic())
    assert (await starting).hold == hold(2)


async def test_a_cancelled_task_that_was_not_started_is_answered_at_once() -> None:
    holdings = holding(grant(1), grant(2))
    holdings.cancel(hold(1))
    (first, _) = holdings.all
    assert first.result is not None
    assert first.result.status == "cancelled"
    assert (await soon(holdings)).hold == hold(2)


async def test_a_running_task_that_is_cancelled_is_told_and_keeps_its_answer() -> None:
    holdings = holding(grant())
    held = await soon(holdings)
    holdings.cancel(hold())
    assert held.cancel.is_set()
    holdings.finish(held, Work(Done("cancelled", "Cancelled")))
    assert held.result is not None


async def test_a_lost_task_is_told_to_stop_and_its_answer_is_dropped() -> None:
    holdings = holding(grant())
    held = await soon(holdings)
    holdings.drop(hold())
    assert held.cancel.is_set()
    holdings.finish(held, Work(Done("succeeded", "Completed")))
    assert held.result is None
    assert len(holdings) == 0


async def test_the_same_grant_twice_is_one_lease() -> None:
    assert len(holding(grant(), grant())) == 1


async def test_a_result_stays_until_it_is_dropped() -> None:
    holdings = holding(grant(spec=NoopTask()))
    assert len(holdings) == 1
    holdings.drop(hold())
    assert len(holdings) == 0


@pytest.mark.parametrize(("size", "inline"), [(INLINE_PAYLOAD_BYTES, True), (INLINE_PAYLOAD_BYTES + 1, False)])
def test_a_payload_that_is_too_large_travels_apart(size: int, inline: bool) -> None:
    payload, result = result_of(grant(), Done("succeeded", payload="x" * size))
    assert (len(payload), len(result.payload)) == ((0, size) if inline else (size, 0))


def test_what_a_runner_says_is_cut_to_what_a_dispatcher_takes() -> None:
    _, result = result_of(grant(), Done("failed", message="m" * 99_999, stdout="o" * 99_999, stderr="e" * 99_999))
    assert len(result.message) == MAX_MESSAGE
    assert len(result.stdout) == len(result.stderr) == STREAM_TAIL_BYTES


def result(size: int) -> TaskResult:
    return TaskResult("job/t", 1, "succeeded", payload="x" * size)


def test_small_results_all_go_in_one_request() -> None:
    assert len(fitting([result(0)] * 64)) == 64


def test_large_results_are_spread_over_requests() -> None:
    half = MAX_REQUEST_BYTES // 4
    assert len(fitting([result(half)] * 5)) == 2


def test_a_request_has_at_least_one_result() -> None:
    assert len(fitting([result(MAX_REQUEST_BYTES)] * 2)) == 1


async def test_more_is_to_come_while_a_task_waits_for_a_slot() -> None:
    holdings = holding(grant(1), grant(2))
    await soon(holdings)
    assert holdings.is_behind
    await soon(holdings)
    assert not holdings.is_behind


async def test_what_waits_behind_a_long_task_is_stuck_but_not_what_has_a_free_slot() -> None:
    holdings = holding(grant(1), grant(2), grant(3))
    await soon(holdings)
    later = time.monotonic() + 10.0
    assert [held.hold for held in holdings.stuck(later, slots=1, seconds=5.0)] == [hold(2), hold(3)]
    assert [held.hold for held in holdings.stuck(later, slots=2, seconds=5.0)] == [hold(3)]
    assert holdings.stuck(later, slots=1, seconds=60.0) == []


async def test_nothing_is_stuck_while_tasks_end_quickly() -> None:
    holdings = holding(grant(1), grant(2))
    holdings.finish(await soon(holdings), Work(Done("succeeded")))
    await soon(holdings)
    holdings.take(grant(3), granted_at=time.monotonic())
    assert holdings.stuck(time.monotonic(), slots=1, seconds=5.0) == []


async def test_more_is_started_up_to_a_slots_share() -> None:
    holdings = holding(*[grant(number) for number in range(1, 6)])
    assert [held.hold for held in holdings.more_to_start(9, slots=2)] == [hold(1), hold(2), hold(3)]
    assert [held.hold for held in holdings.more_to_start(1, slots=1)] == [hold(4)]


async def test_nothing_more_is_started_under_a_lease_that_may_be_over() -> None:
    holdings = holding(grant(1, lease=1.0), grant(2), granted_at=time.monotonic() - 2.0)
    assert holdings.more_to_start(9, slots=1) == []


async def test_what_was_not_begun_after_all_is_the_next_to_start() -> None:
    holdings = holding(grant(1), grant(2), grant(3))
    first, second = holdings.more_to_start(2, slots=1)
    holdings.put_back(second)
    holdings.put_back(first)
    assert [(await soon(holdings)).hold for _ in range(3)] == [hold(1), hold(2), hold(3)]


async def test_what_was_cancelled_and_not_begun_is_answered_when_it_comes_back() -> None:
    holdings = holding(grant(1))
    held = await soon(holdings)
    holdings.cancel(hold(1))
    holdings.put_back(held)
    assert held.result is not None
    assert held.result.status == "cancelled"


async def test_what_was_lost_and_not_begun_does_not_come_back() -> None:
    holdings = holding(grant(1))
    held = await soon(holdings)
    holdings.drop(hold(1))
    holdings.put_back(held)
    await does_not_start(holdings)
