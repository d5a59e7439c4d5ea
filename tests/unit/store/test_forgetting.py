"""What goes when a job goes, and which blobs stay."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mahavishnu_operator.api.wire import ArchiveSource, PlanTask, ScanTask, TaskResult
from mahavishnu_operator.store.protocol import StaleEpoch
from mahavishnu_operator.store.records import (
    JobRecord,
    JobState,
    OutputPiece,
    ReportRecord,
    ResultRecord,
    TaskState,
)
from mahavishnu_operator.store.sqlite import SqliteStore

from .conftest import Clock, Holder, key

HOURS = 3600.0
OTHER = JobRecord(uid="u2", namespace="ns", name="other", pool="ns/pool")


async def forget(held: Holder, *uids: str) -> None:
    await held.store.forget_jobs(held.epoch, uids)


async def test_a_forgotten_job_leaves_no_row(held: Holder) -> None:
    await held.add("t0")
    await held.grant("t0")
    await held.store.append_output(held.epoch, [OutputPiece(key(), 1, "stdout", 0, b"x")])
    await held.deliver("t0")
    digest = await held.store.put_blob(held.epoch, b"{}")
    await held.store.put_report(held.epoch, ReportRecord("u1", digest, 2, False, b"{}", 1.0))
    await forget(held, "u1", "never heard of")
    assert await held.store.known_jobs() == []
    assert await held.store.tasks("u1") == []
    assert await held.store.results("u1") == []
    assert await held.store.output(key(), attempt=1) == b""
    assert await held.store.report("u1") is None


async def test_its_blobs_go_with_it(held: Holder) -> None:
    await held.add("t0")
    digest = await held.store.put_blob(held.epoch, b"data", job="u1")
    held.clock.ahead = 2 * HOURS
    await forget(held, "u1")
    assert await held.store.blob(digest) is None


async def test_a_blob_that_another_job_names_stays(held: Holder) -> None:
    await held.add("t0")
    await held.add("t0", job=OTHER)
    digest = await held.store.put_blob(held.epoch, b"data", job="u1")
    await held.store.name_blobs(held.epoch, "u2", [digest])
    await held.store.set_job_state(held.epoch, "u2", JobState.CLOSED)
    held.clock.ahead = 2 * HOURS
    await forget(held, "u1")
    assert await held.store.blob(digest) == b"data"
    await forget(held, "u2")
    assert await held.store.blob(digest) is None


async def test_a_blob_put_less_than_an_hour_ago_stays(tmp_path: Path) -> None:
    clock = Clock()
    clock.ahead = -3 * HOURS
    store = SqliteStore(tmp_path, clock=clock)
    held = Holder(store, await store.take_epoch("tests"), clock)
    await held.add("t0")
    digest = await store.put_blob(held.epoch, b"data", job="u1")
    clock.ahead = 0.0
    await forget(held)
    await forget(held, "u1")
    kept = await store.blob(digest)
    clock.ahead = 1.1 * HOURS
    await forget(held)
    assert (kept, await store.blob(digest)) == (b"data", None)
    await store.close()


async def test_nothing_goes_in_the_first_hour_after_a_restart(held: Holder) -> None:
    await held.add("t0")
    digest = await held.store.put_blob(held.epoch, b"data", job="u1")
    held.clock.ahead = 12 * HOURS
    again = await held.reopened()
    store = again.store
    await forget(again, "u1")
    kept = await store.blob(digest)
    held.clock.ahead = 13.1 * HOURS
    await forget(again)
    assert (kept, await store.blob(digest)) == (b"data", None)
    await store.close()


async def test_a_blob_that_no_job_ever_named_goes_in_the_end(held: Holder) -> None:
    digest = await held.store.put_blob(held.epoch, b"of a superseded result")
    held.clock.ahead = 2 * HOURS
    await forget(held)
    assert await held.store.blob(digest) is None


async def test_a_blob_put_while_a_job_is_open_may_still_be_named_by_it(held: Holder) -> None:
    await held.add("plan")
    files = await held.store.put_blob(held.epoch, b"a.py\0")
    held.clock.ahead = 100 * HOURS
    await forget(held)
    assert await held.store.blob(files) == b"a.py\0"


async def test_a_task_keeps_the_files_it_names(held: Holder) -> None:
    files = await held.store.put_blob(held.epoch, b"a.py\0")
    await held.add_spec("ruff-0", ScanTask("ruff", "/src", files, 1))
    await held.store.set_job_state(held.epoch, "u1", JobState.CLOSED)
    held.clock.ahead = 2 * HOURS
    await forget(held)
    assert await held.store.blob(files) == b"a.py\0"


async def test_a_task_keeps_the_archive_it_names(held: Holder) -> None:
    archive = await held.store.put_blob(held.epoch, b"archive")
    await held.add_spec("plan", PlanTask("", ("ruff",), source=ArchiveSource(archive)))
    await held.store.set_job_state(held.epoch, "u1", JobState.CLOSED)
    held.clock.ahead = 2 * HOURS
    await forget(held)
    assert await held.store.blob(archive) == b"archive"


async def test_a_result_keeps_the_payload_it_names(held: Holder) -> None:
    await held.add("t0")
    await held.grant("t0")
    payload = await held.store.put_blob(held.epoch, b"payload")
    body = naming(payload)
    await held.store.record_results(held.epoch, [ResultRecord(key(), 1, TaskState.SUCCEEDED, body, 2.0)])
    await held.store.set_job_state(held.epoch, "u1", JobState.CLOSED)
    held.clock.ahead = 2 * HOURS
    await forget(held)
    assert await held.store.blob(payload) == b"payload"


async def test_a_name_that_is_no_digest_names_no_blob(held: Holder) -> None:
    await held.add("t0")
    await held.grant("t0")
    body = naming("../../etc/passwd")
    await held.store.record_results(held.epoch, [ResultRecord(key(), 1, TaskState.SUCCEEDED, body, 2.0)])
    held.clock.ahead = 2 * HOURS
    await forget(held, "u1")
    assert await held.store.known_jobs() == []


async def test_a_replaced_dispatcher_forgets_no_blob(held: Holder) -> None:
    await held.add("t0")
    digest = await held.store.put_blob(held.epoch, b"data", job="u1")
    held.clock.ahead = 2 * HOURS
    await held.store.take_epoch("another")
    with pytest.raises(StaleEpoch):
        await forget(held, "u1")
    assert await held.store.blob(digest) == b"data"


def naming(payload: str) -> bytes:
    return msgspec.json.encode(TaskResult(str(key()), 1, "succeeded", payload_sha256=payload))


async def test_a_blob_that_cannot_be_deleted_holds_no_forgetting_up(held: Holder, tmp_path: Path) -> None:
    await held.add("t0")
    digest = await held.store.put_blob(held.epoch, b"data", job="u1")
    path = tmp_path / "store" / "blobs" / digest[:2] / digest
    path.unlink()
    path.mkdir()
    held.clock.ahead = 2 * HOURS
    await forget(held, "u1")
    assert await held.store.known_jobs() == []
