"""A dispatcher that was replaced changes nothing, however late its calls arrive."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from mahavishnu_operator.store.protocol import StaleEpoch
from mahavishnu_operator.store.records import JobState, OutputPiece, ReportRecord, TaskState, TokenRecord

from .conftest import Holder, key

OLD_CALLS: dict[str, Callable[[Holder], Awaitable[object]]] = {
    "add_job": lambda h: h.add("new"),
    "set_job_state": lambda h: h.store.set_job_state(h.epoch, "u1", JobState.CANCELLED),
    "record_grants": lambda h: h.grant("t1"),
    "record_results": lambda h: h.deliver("t0"),
    "end_attempts": lambda h: h.store.end_attempts(h.epoch, []),
    "put_report": lambda h: h.store.put_report(h.epoch, ReportRecord("u1", "0" * 64, 1, False, b"{}", 1.0)),
    "remember": lambda h: h.store.remember(h.epoch, [], at=1.0),
    "append_output": lambda h: h.store.append_output(h.epoch, [OutputPiece(key(), 1, "stdout", 0, b"x")]),
    "put_blob of a job": lambda h: h.store.put_blob(h.epoch, b"data", job="u1"),
    "name_blobs": lambda h: h.store.name_blobs(h.epoch, "u1", ["0" * 64]),
    "put_token": lambda h: h.store.put_token(h.epoch, TokenRecord("0" * 64, "ns/p", "w", 1.0)),
    "drop_tokens": lambda h: h.store.drop_tokens(h.epoch, pool="ns/p"),
    "forget_jobs": lambda h: h.store.forget_jobs(h.epoch, ["u1"]),
}


@pytest.mark.parametrize("call", OLD_CALLS.values(), ids=OLD_CALLS)
async def test_a_lower_epoch_writes_nothing(held: Holder, call: Callable[[Holder], Awaitable[object]]) -> None:
    await held.add("t0", "t1")
    await held.grant("t0")
    before = await held.store.tasks("u1")
    await held.store.take_epoch("another")
    with pytest.raises(StaleEpoch, match="another"):
        await call(held)
    assert await held.store.tasks("u1") == before
    assert await held.store.report("u1") is None
    assert await held.store.output(key(), attempt=1) == b""
    assert await held.store.find_token("0" * 64) is None


async def test_epochs_only_rise(held: Holder) -> None:
    assert [await held.store.take_epoch("x"), await held.store.take_epoch("y")] == [held.epoch + 1, held.epoch + 2]


async def test_the_new_epoch_may_record_what_the_old_one_granted(held: Holder) -> None:
    await held.add("t0")
    await held.grant("t0")
    held.epoch = await held.store.take_epoch("another")
    await held.deliver("t0")
    assert await held.states() == {"t0": TaskState.SUCCEEDED}
