"""Callers that are no workers, over real HTTP: who brings an archive, who reads a report, and who is not let in."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mahavishnu_operator.api.answers import TaskAnswer, TaskRow
from mahavishnu_operator.api.wire import KEY_HEADER, MAX_BLOB_BYTES, ErrorBody, TaskResult
from mahavishnu_operator.control.doorkeeping import Doorkeeper
from mahavishnu_operator.resources.embedded import EmbeddedResources
from mahavishnu_operator.resources.protocol import SCAN_JOB, Key
from mahavishnu_operator.store.records import (
    GrantRecord,
    JobRecord,
    ReportRecord,
    ResultRecord,
    TaskKey,
    TaskRecord,
    TaskState,
)

from .dispatch_tools import Refused, Service, http, service
from .engine_tools import manifest

__all__ = ["http", "service"]

SECRET = "s" * 43
DATA = b"an archive"
SHA256 = hashlib.sha256(DATA).hexdigest()
JOB = Key("default", "job")


class Site:
    """A dispatcher whose doorkeeper reads real objects."""

    def __init__(self, service: Service, resources: EmbeddedResources) -> None:
        self.service, self.resources = service, resources

    async def job(self, name: str = "job", *, key: str = SECRET, sha256: str = SHA256, **spec: Any) -> str:
        """A ScanJob that a key opens; its UID."""
        fields = {"poolRef": {"name": "pool"}, "source": {"archive": {"sha256": sha256}}, "scan": {"tools": ["ruff"]}}
        obj = manifest("ScanJob", Key("default", name), fields | spec)
        digest = hashlib.sha256(key.encode()).hexdigest()
        obj["metadata"]["annotations"] = {"mahavishnu.dev/access-key-sha256": digest}
        return str((await self.resources.create(SCAN_JOB, obj))["metadata"]["uid"])

    async def call(self, method: str, path: str, body: bytes = b"", *, key: str = SECRET) -> bytes:
        url = f"{self.service.url}/v1/scanjobs/{path}"
        async with self.service.http.request(
            method, url, data=io.BytesIO(body), headers={KEY_HEADER: key} if key else {}
        ) as answer:
            data = await answer.read()
            if answer.status != 200:
                raise Refused(answer.status, msgspec.json.decode(data, type=ErrorBody), answer.headers)
            return data

    async def bring(self, data: bytes = DATA, *, job: str = "job", sha256: str = SHA256, key: str = SECRET) -> None:
        await self.call("PUT", f"default/{job}/archives/{sha256}", data, key=key)


@pytest.fixture
async def site(service: Service, tmp_path: Path) -> AsyncIterator[Site]:
    async def no_answers(uid: str) -> bytes | None:
        return None

    resources = EmbeddedResources(tmp_path / "objects.db")
    service.dispatcher.visitors.admit_with(Doorkeeper(resources, tokens=None), no_answers)
    yield Site(service, resources)
    await resources.close()


async def test_who_made_the_scanjob_brings_its_archive(site: Site) -> None:
    uid = await site.job()
    await site.bring()
    source = await site.service.store.source(uid)
    assert source is not None
    assert (source.namespace, source.sha256, source.size_bytes) == ("default", SHA256, len(DATA))
    assert await site.service.store.blob(SHA256) == DATA


async def test_bringing_it_again_changes_nothing(site: Site) -> None:
    uid = await site.job()
    await site.bring()
    await site.bring()
    source = await site.service.store.source(uid)
    assert source is not None
    assert source.sha256 == SHA256


@pytest.mark.parametrize("key", ["", "t" * 43, "short", "s" * 42])
async def test_another_key_opens_nothing(site: Site, key: str) -> None:
    await site.job()
    with pytest.raises(Refused) as refused:
        await site.bring(key=key)
    assert refused.value.status in (401, 403)
    assert await site.service.store.blob(SHA256) is None


async def test_the_key_of_one_scanjob_opens_no_other_and_tells_nothing_of_it(site: Site) -> None:
    await site.job("job")
    await site.job("other", key="o" * 43)
    said = []
    for name in ("other", "nosuch"):
        with pytest.raises(Refused) as refused:
            await site.bring(job=name)
        said.append((refused.value.status, refused.value.body.message.replace(name, "NAME")))
    assert said[0] == said[1]


async def test_a_scanjob_without_an_annotation_is_opened_by_nobody(site: Site) -> None:
    obj = manifest("ScanJob", JOB, {"poolRef": {"name": "p"}, "tasks": [{"id": "t", "command": ["true"]}]})
    await site.resources.create(SCAN_JOB, obj)
    with pytest.raises(Refused, match="opened by this key"):
        await site.bring(key=hashlib.sha256(b"").hexdigest())


async def test_content_that_the_scanjob_does_not_name_is_refused(site: Site) -> None:
    await site.job(sha256="0" * 64)
    with pytest.raises(Refused, match="names the archive 0000"):
        await site.bring()


async def test_bytes_that_are_not_what_the_digest_says_are_not_stored(site: Site) -> None:
    uid = await site.job()
    with pytest.raises(Refused, match="nothing was stored"):
        await site.bring(DATA + b"more")
    assert await site.service.store.source(uid) is None


async def test_an_archive_over_the_limit_is_refused_before_it_is_read(site: Site) -> None:
    await site.job()
    url = f"{site.service.url}/v1/scanjobs/default/job/archives/{SHA256}".removeprefix("http://")
    host, _, path = url.partition("/")
    reader, writer = await asyncio.open_connection(*host.split(":"))
    head = f"PUT /{path} HTTP/1.1\r\nHost: {host}\r\n{KEY_HEADER}: {SECRET}\r\nContent-Length: {MAX_BLOB_BYTES + 1}\r\n"
    writer.write(f"{head}\r\n".encode())
    assert b"413" in await reader.readline()
    writer.close()


async def test_a_scanjob_that_has_ended_takes_no_archive(site: Site) -> None:
    await site.job()
    await site.resources.merge_status(SCAN_JOB, JOB, {"phase": "Failed"})
    with pytest.raises(Refused, match="has ended"):
        await site.bring()


async def test_a_scanjob_of_another_source_takes_none(site: Site) -> None:
    await site.job(source={"path": "/srv"})
    with pytest.raises(Refused, match="names no archive"):
        await site.bring()


async def test_who_may_write_the_scanjob_reads_its_report(site: Site) -> None:
    uid = await site.job()
    store, epoch = site.service.store, site.service.dispatcher.epoch
    await store.add_job(epoch, JobRecord(uid, "default", "job", "default/pool"), [])
    digest = await store.put_blob(epoch, b"{}")
    await store.put_report(epoch, ReportRecord(uid, digest, 2, False, b"{}", 1.0))
    assert await site.call("GET", "default/job/report") == b"{}"
    with pytest.raises(Refused) as refused:
        await site.call("GET", "default/job/report", key="t" * 43)
    assert refused.value.status == 403


async def test_who_may_write_the_scanjob_reads_its_tasks_and_what_they_wrote(site: Site) -> None:
    uid = await site.job()
    store, epoch = site.service.store, site.service.dispatcher.epoch
    key = TaskKey(uid, "t0")
    await store.add_job(epoch, JobRecord(uid, "default", "job", "default/pool"), [TaskRecord(key, 0, b"{}")])
    await store.record_grants(epoch, [GrantRecord(key, 1, epoch, "default/pool/w1", 1.0, 15.0)])
    result = TaskResult(str(key), 1, "failed", exit_code=3, stdout="end", stderr="why", stdout_bytes=100)
    await store.record_results(epoch, [ResultRecord(key, 1, TaskState.FAILED, msgspec.json.encode(result), 1.0)])
    (row,) = msgspec.json.decode(await site.call("GET", "default/job/tasks"), type=list[TaskRow])
    assert (row.id, row.state, row.exit_code, row.worker) == ("t0", "failed", 3, "default/pool/w1")
    answer = msgspec.json.decode(await site.call("GET", "default/job/tasks/t0"), type=TaskAnswer)
    assert (answer.stdout, answer.stderr, answer.stdout_bytes) == ("end", "why", 100)
    assert await site.call("GET", "default/job/tasks/t0/stderr?offset=1&limit=1") == b"h"
    for path, status in (
        ("tasks/t1", 404),
        ("tasks/t1/stdout", 404),
        ("tasks/t0/x", 404),
        ("tasks/t0/stdout?limit=-1", 400),
    ):
        with pytest.raises(Refused) as refused:
            await site.call("GET", f"default/job/{path}")
        assert refused.value.status == status, path
    with pytest.raises(Refused) as refused:
        await site.call("GET", "default/job/tasks", key="t" * 43)
    assert refused.value.status == 403


async def test_a_report_that_is_not_there_is_not_found(site: Site) -> None:
    await site.job()
    for what in ("report", "answers"):
        with pytest.raises(Refused) as refused:
            await site.call("GET", f"default/job/{what}")
        assert refused.value.status == 404


async def test_a_token_is_worth_nothing_where_no_api_server_can_be_asked(site: Site) -> None:
    await site.job()
    with pytest.raises(Refused) as refused:
        await site.bring(key="")
    assert refused.value.status == 401
