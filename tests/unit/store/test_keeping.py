"""Outputs, blobs, reports, memory, tokens, and what goes when a job goes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mahavishnu_operator.store.records import MemoryKey, OutputPiece, ReportRecord, TokenRecord
from mahavishnu_operator.store.sqlite.blobs import BlobDamaged
from mahavishnu_operator.support.errors import InvalidInput

from .conftest import Holder, key

GOOD = MemoryKey("pool-uid", "ruff", "0.17", "cfg", "env", "a.py", "blob")


async def test_a_blob_comes_back_whole(held: Holder) -> None:
    assert await held.store.blob(await held.store.put_blob(b"data")) == b"data"


async def test_a_blob_that_was_never_stored_is_none(held: Holder) -> None:
    assert await held.store.blob("0" * 64) is None


async def test_a_digest_that_is_none_is_refused(held: Holder) -> None:
    with pytest.raises(InvalidInput):
        await held.store.blob("../../etc/passwd")


async def test_a_damaged_blob_is_an_error_and_not_other_data(held: Holder, tmp_path: Path) -> None:
    digest = await held.store.put_blob(b"data")
    (file,) = (tmp_path / "store" / "blobs").glob(f"*/{digest}")
    file.write_bytes(b"dat")
    with pytest.raises(BlobDamaged, match=digest):
        await held.store.blob(digest)


async def test_forgetting_a_job_takes_its_rows_and_old_blobs(held: Holder, tmp_path: Path) -> None:
    await held.add("t0")
    digest = await held.store.put_blob(b"data", job="u1")
    (file,) = (tmp_path / "store" / "blobs").glob(f"*/{digest}")
    os.utime(file, (time.time() - 7200,) * 2)
    await held.store.forget_jobs(held.epoch, ["u1"])
    assert await held.store.known_jobs() == []
    assert await held.store.tasks("u1") == []
    assert await held.store.blob(digest) is None


async def test_a_young_blob_survives_its_job(held: Holder) -> None:
    await held.add("t0")
    digest = await held.store.put_blob(b"data", job="u1")
    await held.store.forget_jobs(held.epoch, ["u1"])
    assert await held.store.blob(digest) == b"data"


async def test_output_is_read_in_pages_across_pieces(held: Holder) -> None:
    await held.add("t0")
    pieces = [OutputPiece(key(), 1, "stdout", 0, b"abc"), OutputPiece(key(), 1, "stdout", 3, b"defg")]
    await held.store.append_output([*pieces, pieces[0]])
    assert await held.store.output(key(), offset=1, limit=4) == b"bcde"
    assert await held.store.output(key(), offset=7) == b""


async def test_output_of_the_latest_attempt_is_the_default(held: Holder) -> None:
    await held.add("t0")
    await held.store.append_output(
        [OutputPiece(key(), 1, "stdout", 0, b"old"), OutputPiece(key(), 2, "stdout", 0, b"new")]
    )
    assert await held.store.output(key()) == b"new"
    assert await held.store.output(key(), attempt=1) == b"old"


async def test_output_after_a_gap_is_not_shown_in_its_place(held: Holder) -> None:
    await held.add("t0")
    await held.store.append_output(
        [OutputPiece(key(), 1, "stdout", 0, b"ab"), OutputPiece(key(), 1, "stdout", 9, b"z")]
    )
    assert await held.store.output(key()) == b"ab"


async def test_a_report_replaces_the_one_before(held: Holder) -> None:
    await held.add("t0")
    for size in (1, 2):
        await held.store.put_report(held.epoch, ReportRecord("u1", "0" * 64, size, False, b"{}", 1.0))
    report = await held.store.report("u1")
    assert report is not None
    assert report.size_bytes == 2


async def test_known_good_content_is_recalled_while_it_is_fresh(held: Holder) -> None:
    await held.store.remember(held.epoch, [GOOD], at=100.0)
    assert await held.store.recall([GOOD], since=100.0) == {GOOD}
    assert await held.store.recall([GOOD], since=100.1) == set()


@pytest.mark.parametrize("field", MemoryKey.__slots__)
async def test_any_other_key_field_is_a_miss(held: Holder, field: str) -> None:
    await held.store.remember(held.epoch, [GOOD], at=100.0)
    other = MemoryKey(**{**{name: getattr(GOOD, name) for name in MemoryKey.__slots__}, field: "other"})
    assert await held.store.recall([other], since=0.0) == set()


async def test_a_dropped_token_lets_nobody_in(held: Holder) -> None:
    await held.store.put_token(TokenRecord("d1", "ns/p", "w1", 1.0))
    await held.store.put_token(TokenRecord("d2", "ns/p", "w2", 1.0))
    await held.store.drop_tokens(pool="ns/p", worker="w1")
    assert await held.store.find_token("d1") is None
    assert await held.store.find_token("d2") is not None
