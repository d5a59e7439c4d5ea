"""Outputs, reports, memory and tokens."""

from __future__ import annotations

import pytest

from mahavishnu_operator.store.records import (
    JobRecord,
    JobState,
    MemoryKey,
    OutputPiece,
    ReportRecord,
    TokenRecord,
)
from mahavishnu_operator.support.errors import NotFound

from .conftest import Holder, key

GOOD = MemoryKey("pool-uid", "ruff", "0.17", "cfg", "env", "a.py", "blob")


async def test_output_is_read_in_pages_across_pieces(held: Holder) -> None:
    await held.add("t0")
    await held.grant("t0")
    pieces = [OutputPiece(key(), 1, "stdout", 0, b"abc"), OutputPiece(key(), 1, "stdout", 3, b"defg")]
    await held.store.append_output(held.epoch, [*pieces, pieces[0]])
    assert await held.store.output(key(), offset=1, limit=4) == b"bcde"
    assert await held.store.output(key(), offset=7) == b""


async def test_output_of_the_latest_attempt_is_the_default(held: Holder) -> None:
    await held.add("t0")
    await held.grant("t0")
    await held.store.append_output(held.epoch, [OutputPiece(key(), 1, "stdout", 0, b"old")])
    await held.lose("t0")
    await held.grant("t0", attempt=2)
    assert await held.store.output(key()) == b""
    await held.store.append_output(held.epoch, [OutputPiece(key(), 2, "stdout", 0, b"new")])
    assert await held.store.output(key()) == b"new"
    assert await held.store.output(key(), attempt=1) == b"old"


async def test_streams_of_output_are_kept_apart(held: Holder) -> None:
    await held.add("t0")
    await held.grant("t0")
    await held.store.append_output(
        held.epoch, [OutputPiece(key(), 1, "stdout", 0, b"out"), OutputPiece(key(), 1, "stderr", 0, b"err")]
    )
    assert await held.store.output(key(), stream="stderr") == b"err"


async def test_pieces_that_overlap_are_read_once(held: Holder) -> None:
    await held.add("t0")
    await held.grant("t0")
    await held.store.append_output(
        held.epoch, [OutputPiece(key(), 1, "stdout", 0, b"abcd"), OutputPiece(key(), 1, "stdout", 2, b"cdef")]
    )
    assert await held.store.output(key()) == b"abcdef"


async def test_output_after_a_gap_is_not_shown_in_its_place(held: Holder) -> None:
    await held.add("t0")
    await held.grant("t0")
    await held.store.append_output(
        held.epoch, [OutputPiece(key(), 1, "stdout", 0, b"ab"), OutputPiece(key(), 1, "stdout", 9, b"z")]
    )
    assert await held.store.output(key()) == b"ab"


async def test_output_of_a_task_that_nobody_knows_is_dropped(held: Holder) -> None:
    await held.store.append_output(held.epoch, [OutputPiece(key(), 1, "stdout", 0, b"late")])
    assert await held.store.output(key()) == b""


async def test_a_report_replaces_the_one_before(held: Holder) -> None:
    await held.add("t0")
    for text in (b"{}", b"{ }"):
        digest = await held.store.put_blob(held.epoch, text)
        await held.store.put_report(held.epoch, ReportRecord("u1", digest, len(text), False, b"{}", 1.0))
    assert await held.store.report("u1") == ReportRecord("u1", digest, 3, False, b"{}", 1.0)


async def test_a_report_whose_blob_was_not_put_is_refused(held: Holder) -> None:
    await held.add("t0")
    with pytest.raises(NotFound, match="no blob"):
        await held.store.put_report(held.epoch, ReportRecord("u1", "0" * 64, 1, False, b"{}", 1.0))
    assert await held.store.report("u1") is None


async def test_a_report_of_a_forgotten_job_is_refused(held: Holder) -> None:
    digest = await held.store.put_blob(held.epoch, b"{}")
    with pytest.raises(NotFound, match="no job u1"):
        await held.store.put_report(held.epoch, ReportRecord("u1", digest, 2, False, b"{}", 1.0))


async def test_known_good_content_is_recalled_while_it_is_fresh(held: Holder) -> None:
    await held.store.remember(held.epoch, [GOOD], at=100.0)
    assert await held.store.recall([GOOD], since=100.0) == {GOOD}
    assert await held.store.recall([GOOD], since=100.1) == set()


async def test_an_older_mark_does_not_shorten_a_newer_one(held: Holder) -> None:
    await held.store.remember(held.epoch, [GOOD], at=100.0)
    await held.store.remember(held.epoch, [GOOD], at=50.0)
    assert await held.store.recall([GOOD], since=100.0) == {GOOD}


@pytest.mark.parametrize("field", MemoryKey.__slots__)
async def test_any_other_key_field_is_a_miss(held: Holder, field: str) -> None:
    await held.store.remember(held.epoch, [GOOD], at=100.0)
    other = MemoryKey(**{**{name: getattr(GOOD, name) for name in MemoryKey.__slots__}, field: "other"})
    assert await held.store.recall([other], since=0.0) == set()


async def test_a_dropped_token_lets_nobody_in(held: Holder) -> None:
    await held.store.put_token(held.epoch, TokenRecord("d1", "ns/p", "w1", 1.0))
    await held.store.put_token(held.epoch, TokenRecord("d2", "ns/p", "w2", 1.0))
    await held.store.drop_tokens(held.epoch, pool="ns/p", worker="w1")
    assert await held.store.find_token("d1") is None
    assert await held.store.find_token("d2") is not None


async def test_dropping_a_pool_drops_all_its_tokens_and_no_other(held: Holder) -> None:
    for digest, pool in (("d1", "ns/p"), ("d2", "ns/p"), ("d3", "ns/q")):
        await held.store.put_token(held.epoch, TokenRecord(digest, pool, digest, 1.0))
    await held.store.drop_tokens(held.epoch, pool="ns/p")
    assert [await held.store.find_token(digest) for digest in ("d1", "d2")] == [None, None]
    assert await held.store.find_token("d3") == TokenRecord("d3", "ns/q", "d3", 1.0)


async def test_a_job_keeps_all_that_it_was_added_with(held: Holder) -> None:
    job = JobRecord(
        uid="u9",
        namespace="ns",
        name="job",
        pool="ns/pool",
        priority=-3,
        parallelism=7,
        max_attempts=4,
        task_timeout_seconds=12.5,
        state=JobState.SUSPENDED,
        worker="pool-1",
    )
    await held.add("t0", job=job)
    assert await held.store.open_jobs() == [job]
