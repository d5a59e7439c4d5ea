"""The archive of a job's files: found through its namespace, kept as long as a job has it."""

from __future__ import annotations

import pytest

from mahavishnu_operator.store.records import SourceRecord
from mahavishnu_operator.support.errors import NotFound

from .conftest import Holder

HOURS = 3600.0


async def put(held: Holder, job: str, data: bytes = b"files", *, namespace: str = "ns") -> SourceRecord:
    digest = await held.store.put_blob(held.epoch, data)
    source = SourceRecord(job, namespace, digest, len(data), held.clock(), revision="c1", base_revision="c0")
    await held.store.put_source(held.epoch, source)
    return source


async def test_a_source_stands_before_its_job_has_tasks(held: Holder) -> None:
    source = await put(held, "u1")
    assert await held.store.source("u1") == source
    assert await held.store.sources() == [source]
    assert await held.store.source("u2") is None


async def test_a_source_without_its_blob_is_refused(held: Holder) -> None:
    with pytest.raises(NotFound, match="there is no blob"):
        await held.store.put_source(held.epoch, SourceRecord("u1", "ns", "0" * 64, 5, 1.0))


async def test_a_source_brought_again_replaces_the_first(held: Holder) -> None:
    await put(held, "u1")
    second = await put(held, "u1", b"other files")
    assert await held.store.source("u1") == second


async def test_content_is_found_in_the_namespace_that_brought_it_alone(held: Holder) -> None:
    source = await put(held, "u1")
    assert await held.store.find_source("ns", source.sha256) == source
    assert await held.store.find_source("elsewhere", source.sha256) is None


async def test_its_blob_stays_as_long_as_a_job_has_it_and_no_longer(held: Holder) -> None:
    source = await put(held, "u1")
    await put(held, "u2")
    held.clock.ahead = 2 * HOURS
    await held.store.forget_jobs(held.epoch, ["u1"])
    assert await held.store.blob(source.sha256) == b"files"
    held.clock.ahead = 4 * HOURS
    await held.store.forget_jobs(held.epoch, ["u2"])
    assert await held.store.blob(source.sha256) is None
    assert await held.store.sources() == []


async def test_a_sweep_leaves_the_blob_of_a_source(held: Holder) -> None:
    source = await put(held, "u1")
    held.clock.ahead = 4 * HOURS
    await held.store.forget_jobs(held.epoch, [])
    assert await held.store.blob(source.sha256) == b"files"
