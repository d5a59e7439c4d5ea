"""The dispatcher over real HTTP on loopback: leases, results, restarts, long polls, blobs."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from pathlib import Path

import aiohttp
import msgspec
import pytest

from mahavishnu_operator.api.wire import (
    MAX_BLOB_BYTES,
    ArchiveSource,
    CommandTask,
    Empty,
    LeaseRequest,
    LeaseResponse,
    OutputChunk,
    OutputRequest,
    PlanTask,
    ReleaseRequest,
    ScanTask,
    TaskResult,
)
from mahavishnu_operator.dispatch.dispatcher import Dispatcher
from mahavishnu_operator.dispatch.server import DispatchServer
from mahavishnu_operator.store.records import JobState, SourceRecord, TaskKey
from mahavishnu_operator.store.sqlite import SqliteStore
from mahavishnu_operator.support.errors import InvalidInput

from .dispatch_tools import (
    POOL,
    SHORT,
    Refused,
    Service,
    WireClient,
    hold,
    http,
    service,
    succeeded,
    workers_wait,
)

__all__ = ["http", "service"]

ESTABLISHED, PROBING = "01", "02"  # a connection's state and its timer, as in /proc/net/tcp


async def test_a_task_goes_from_submit_to_a_durable_result(service: Service) -> None:
    client = await service.client()
    await service.submit()
    [grant] = await client.lease()
    assert (grant.task, grant.attempt, grant.spec) == ("job-1/t0", 1, CommandTask(argv=("true",)))
    assert (grant.lease_seconds, grant.timeout_seconds) == (60.0, 600.0)
    assert await client.deliver(succeeded(grant)) == ["recorded"]
    progress = service.dispatcher.progress("job-1")
    assert progress is not None
    assert progress.succeeded == 1


async def test_a_waiting_lease_is_answered_when_a_task_is_submitted(service: Service) -> None:
    client = await service.client()
    waiting = asyncio.create_task(client.lease(wait=30))
    await workers_wait(service, 1)
    await service.submit()
    async with asyncio.timeout(5):
        assert len(await waiting) == 1


async def test_results_are_idempotent_over_the_wire(service: Service) -> None:
    client = await service.client()
    await service.submit()
    [grant] = await client.lease()
    assert await client.deliver(succeeded(grant), TaskResult("gone/t0", 1, "succeeded")) == ["recorded", "unknown"]
    assert await client.deliver(succeeded(grant)) == ["duplicate"]


async def test_a_superseded_attempt_is_told_so(service: Service) -> None:
    first, second = await service.client(), await service.client("w2")
    await service.submit()
    [old] = await first.lease()
    await service.dispatcher.worker_gone(pool=POOL, worker="w1", message="killed")
    [new] = await second.lease(wait=5)
    assert (new.task, new.attempt) == (old.task, 2)
    late = await service.client("w3")
    assert await late.deliver(succeeded(old)) == ["superseded"]
    assert await second.deliver(succeeded(new)) == ["recorded"]


async def test_a_cancel_is_answered_by_a_waiting_renewal_at_once(service: Service) -> None:
    client = await service.client()
    await service.submit()
    [grant] = await client.lease()
    renewing = asyncio.create_task(client.renew(hold(grant), wait=30))
    await service.dispatcher.set_job_state("job-1", JobState.CANCELLED)
    async with asyncio.timeout(5):
        assert (await renewing).cancel == (hold(grant),)
    assert await client.deliver(TaskResult(grant.task, grant.attempt, "cancelled")) == ["recorded"]


async def test_a_drain_is_answered_by_waiting_calls_at_once(service: Service) -> None:
    client = await service.client()
    renewing = asyncio.create_task(client.renew(wait=30))
    leasing = asyncio.create_task(client.post("/v1/lease", LeaseRequest(1, 30), LeaseResponse))
    await workers_wait(service, 2)
    assert await service.dispatcher.begin_drain(pool=POOL, worker="w1")
    async with asyncio.timeout(5):
        assert (await leasing).drain
        assert (await renewing).drain


async def test_a_client_that_hangs_up_while_it_waits_swallows_no_task(service: Service) -> None:
    client = await service.client()
    host, port = service.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    body = msgspec.json.encode(LeaseRequest(1, 30))
    head = f"POST /v1/lease HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.session}\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()
    await workers_wait(service, 1)
    writer.transport.abort()
    await workers_wait(service, 0)
    await service.submit()
    [grant] = await client.lease()
    assert grant.attempt == 1


async def test_a_restart_makes_sessions_unknown_and_holds_are_adopted(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    service = Service(tmp_path, http)
    async with service.running():
        client = await service.client()
        await service.submit()
        [grant] = await client.lease()
    async with service.running():
        client.url = service.url
        with pytest.raises(Refused) as refused:
            await client.renew(hold(grant))
        assert (refused.value.status, refused.value.body.reason) == (401, "SessionUnknown")
        await client.register(holds=[hold(grant)])
        other = await service.client("w2")
        assert await other.lease() == ()
        assert (await client.renew(hold(grant))).lost == ()
        assert await client.deliver(succeeded(grant)) == ["recorded"]


async def test_after_a_restart_in_mid_lease_nothing_is_leased_twice_before_the_deadline(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    service = Service(tmp_path, http)
    async with service.running(pace=SHORT):
        client = await service.client()
        await service.submit(2)
        [grant] = await client.lease()
    async with service.running(pace=SHORT) as dispatcher:
        begun = dispatcher.core.clock()
        other = await service.client("w2", slots=2)
        assert [found.task for found in await other.lease(2)] == ["job-1/t1"]
        [again] = await other.lease(2, wait=10)
        assert (again.task, again.attempt) == (grant.task, 2)
        assert dispatcher.core.clock() - begun >= SHORT.lease_seconds


async def test_a_dead_worker_is_replaced_at_once_when_its_death_is_known(service: Service) -> None:
    first, second = await service.client(), await service.client("w2")
    await service.submit()
    [grant] = await first.lease()
    waiting = asyncio.create_task(second.lease(wait=30))
    await workers_wait(service, 1)
    await service.dispatcher.worker_gone(pool=POOL, worker="w1", message="exit code 1")
    async with asyncio.timeout(5):
        [again] = await waiting
    assert again.attempt == 2
    with pytest.raises(Refused) as refused:
        await first.deliver(succeeded(grant))
    assert refused.value.status == 401


async def test_released_leases_and_a_worker_that_leaves_give_their_tasks_back(service: Service) -> None:
    client = await service.client(slots=2)
    await service.submit(2)
    first, _ = await client.lease(2)
    assert await client.post("/v1/release", ReleaseRequest((hold(first),), "SIGTERM"), Empty) == Empty()
    assert await client.post("/v1/leave", Empty(), Empty) == Empty()
    assert service.dispatcher.load(POOL).queued == 2


# --- blobs, output, probes ----------------------------------------------------------------------------


async def test_a_blob_is_stored_under_its_digest_and_read_by_who_holds_a_task_that_names_it(service: Service) -> None:
    client, other = await service.client(), await service.client("w2")
    data = b"a\0b\0" * 500_000
    digest = hashlib.sha256(data).hexdigest()
    await client.call("PUT", f"/v1/blobs/{digest}", data, bearer=client.session)
    await service.submit_spec(ScanTask("ruff", "/src", digest, 1))
    assert not await reads(client, digest)
    await client.lease()
    assert await client.call("GET", f"/v1/blobs/{digest}", b"", bearer=client.session) == data
    assert not await reads(other, digest)


@pytest.mark.parametrize("namespace", ["default", "other"])
async def test_an_archive_is_read_for_a_job_of_its_own_namespace_alone(service: Service, namespace: str) -> None:
    client = await service.client(slots=2)
    store, epoch = service.dispatcher.store, service.dispatcher.core.epoch
    digest = await store.put_blob(epoch, b"archive")
    await store.put_source(epoch, SourceRecord("job-0", namespace, digest, 7, 1.0))
    await service.submit_spec(PlanTask("", ("ruff",), source=ArchiveSource(digest)))
    await service.submit_spec(ScanTask("ruff", "", digest, 1), task="forged")  # a plan may name what it likes
    assert len(await client.lease(2)) == 2
    assert await reads(client, digest) is (namespace == "default")


async def reads(client: WireClient, digest: str) -> bool:
    path, headers = f"{client.url}/v1/blobs/{digest}", {"Authorization": f"Bearer {client.session}"}
    async with client.http.get(path, headers=headers) as answer:
        assert answer.status in (200, 404)
        return answer.status == 200


async def test_a_blob_that_is_not_what_its_name_says_is_not_stored(service: Service) -> None:
    client = await service.client()
    path = f"/v1/blobs/{hashlib.sha256(b'right').hexdigest()}"
    with pytest.raises(Refused, match="nothing was stored") as refused:
        await client.call("PUT", path, b"wrong", bearer=client.session)
    assert refused.value.status == 400
    with pytest.raises(Refused) as refused:
        await client.call("GET", path, b"", bearer=client.session)
    assert refused.value.status == 404


async def test_a_blob_is_read_with_a_session_only(service: Service) -> None:
    client = await service.client()
    for bearer in (None, client.token):
        with pytest.raises(Refused) as refused:
            await client.call("GET", f"/v1/blobs/{'0' * 64}", b"", bearer=bearer)
        assert refused.value.status == 401


@pytest.mark.parametrize("name", ["x", "../../etc/passwd", "0" * 63 + "G"])
async def test_a_blob_name_that_is_no_digest_is_refused(service: Service, name: str) -> None:
    client = await service.client()
    with pytest.raises(Refused) as refused:
        await client.call("PUT", f"/v1/blobs/{name}", b"", bearer=client.session)
    assert refused.value.status in (400, 404)


async def test_a_blob_over_its_limit_is_refused(service: Service) -> None:
    client = await service.client()
    with pytest.raises(Refused, match=f"over {MAX_BLOB_BYTES} bytes"):
        await client.call("PUT", f"/v1/blobs/{'0' * 64}", b"x" * (MAX_BLOB_BYTES + 1), bearer=client.session)


async def test_running_output_can_be_read_before_the_task_ends(service: Service) -> None:
    client = await service.client()
    await service.submit()
    [grant] = await client.lease()
    chunk = OutputChunk(grant.task, grant.attempt, "stderr", 0, b"half \xff way")
    await client.post("/v1/output", OutputRequest((chunk,)), Empty)
    assert await service.store.output(TaskKey("job-1", "t0"), stream="stderr") == b"half \xff way"


async def test_health_and_metrics_are_answered(service: Service) -> None:
    client = await service.client()
    await service.submit()
    [grant] = await client.lease()
    await client.deliver(succeeded(grant))
    async with service.http.get(f"{service.url}/healthz") as answer:
        assert (answer.status, await answer.text()) == (200, "ok\n")
    async with service.http.get(f"{service.url}/metrics") as answer:
        text = await answer.text()
    assert 'mahavishnu_dispatch_tasks_ended_total{outcome="succeeded",pool="default/pool"} 1.0' in text
    assert 'mahavishnu_dispatch_results_total{pool="default/pool",receipt="recorded"} 1.0' in text
    assert "job-1" not in text


async def test_a_dispatcher_that_lost_its_epoch_answers_503_and_is_not_healthy(service: Service) -> None:
    client = await service.client()
    await service.submit()
    await service.store.take_epoch("another")
    with pytest.raises(Refused) as refused:
        await client.lease()
    assert (refused.value.status, refused.value.body.reason) == (503, "NotLeader")
    async with service.http.get(f"{service.url}/healthz") as answer:
        assert answer.status == 503


async def test_a_dispatcher_that_is_starting_answers_503(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    store = SqliteStore(tmp_path)
    async with DispatchServer(Dispatcher(store, holder="test")) as server:
        with pytest.raises(Refused) as refused:
            await WireClient(http, server.url, "any").register()
    assert (refused.value.status, refused.value.body.reason) == (503, "Starting")
    await store.close()


async def test_closing_the_server_answers_who_waits_at_once(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    service = Service(tmp_path, http)
    async with service.running():
        client = await service.client()
        waiting = asyncio.create_task(client.lease(wait=30))
        await workers_wait(service, 1)
    with pytest.raises(Refused) as refused:
        async with asyncio.timeout(5):
            await waiting
    assert refused.value.status == 503


async def test_a_host_that_is_not_loopback_needs_tls_or_an_explicit_yes(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    dispatcher = Dispatcher(store, holder="test")
    with pytest.raises(InvalidInput, match=r"0\.0\.0\.0 without TLS"):
        DispatchServer(dispatcher, host="0.0.0.0")
    assert DispatchServer(dispatcher, host="0.0.0.0", allow_plain_http=True).port == 0
    await store.close()


async def test_a_port_that_is_taken_is_said_in_words(service: Service) -> None:
    taken = int(service.url.rsplit(":", 1)[1])
    with pytest.raises(InvalidInput, match=f"cannot listen on 127.0.0.1 port {taken}"):
        await DispatchServer(service.dispatcher, port=taken).start()


async def test_an_answer_says_how_long_after_the_request_its_grants_were_made(service: Service) -> None:
    client = await service.client()
    asked = time.monotonic()
    polling = asyncio.create_task(client.post("/v1/lease", LeaseRequest(1, 30.0), LeaseResponse))
    await workers_wait(service, 1)
    waiting = time.monotonic()
    for _ in range(20):
        await client.http.get(f"{service.url}/healthz")
    granting = time.monotonic()
    await service.submit()
    answer = await polling
    assert granting - waiting <= answer.waited_seconds <= time.monotonic() - asked


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere what listens does not hand its options down")
async def test_a_worker_whose_machine_vanished_is_noticed_by_the_kernel(service: Service) -> None:
    client = await service.client()
    polling = asyncio.create_task(client.lease(wait=30.0))
    await workers_wait(service, 1)
    port = f":{int(service.url.rpartition(':')[2]):04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    accepted = [row[5] for row in rows if row[1].endswith(port) and row[3] == ESTABLISHED]
    assert accepted
    assert {timer[:2] for timer in accepted} == {PROBING}
    polling.cancel()
