"""The dispatcher over real HTTP on loopback, with a client that speaks api/wire.py as a worker does."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import msgspec
import pytest

from mahavishnu_operator.api.wire import (
    MAX_BLOB_BYTES,
    CommandTask,
    Empty,
    ErrorBody,
    Grant,
    Hold,
    LeaseRequest,
    LeaseResponse,
    NoopTask,
    OutputChunk,
    OutputRequest,
    RegisterRequest,
    RegisterResponse,
    ReleaseRequest,
    RenewRequest,
    RenewResponse,
    ResultsRequest,
    ResultsResponse,
    TaskResult,
)
from mahavishnu_operator.dispatch.core import Pace
from mahavishnu_operator.dispatch.dispatcher import Dispatcher
from mahavishnu_operator.dispatch.results_api import results_app
from mahavishnu_operator.dispatch.server import DispatchServer
from mahavishnu_operator.store.records import JobRecord, JobState, ReportRecord, TaskKey, TaskRecord
from mahavishnu_operator.store.sqlite import SqliteStore
from mahavishnu_operator.support.errors import InvalidInput

POOL = "default/pool"
LONG = Pace(lease_seconds=60.0, renew_seconds=20.0)  # what is answered within a few seconds was not waited out
SHORT = Pace(lease_seconds=1.0, renew_seconds=0.3)
T = TypeVar("T")


class Refused(Exception):
    """A non-2xx answer."""

    def __init__(self, status: int, body: ErrorBody, headers: Any) -> None:
        super().__init__(f"{status} {body.reason}: {body.message}")
        self.status, self.body, self.headers = status, body, headers


class WireClient:
    """Speaks the protocol; nothing more."""

    def __init__(self, http: aiohttp.ClientSession, url: str, token: str, *, worker: str = "w1") -> None:
        self.http, self.url, self.token, self.worker = http, url, token, worker
        self.session = ""

    async def call(self, method: str, path: str, body: bytes, *, bearer: str | None) -> bytes:
        headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
        async with self.http.request(method, self.url + path, data=io.BytesIO(body), headers=headers) as answer:
            data = await answer.read()
            if answer.status != 200:
                raise Refused(answer.status, msgspec.json.decode(data, type=ErrorBody), answer.headers)
            return data

    async def post(self, path: str, body: Any, kind: type[T]) -> T:
        data = await self.call("POST", path, msgspec.json.encode(body), bearer=self.session)
        return msgspec.json.decode(data, type=kind)

    async def register(
        self, *, slots: int = 1, protocol: int = 1, incarnation: str = "first", holds: Sequence[Hold] = ()
    ) -> RegisterResponse:
        request = RegisterRequest(protocol, POOL, self.worker, incarnation, slots, "1.0", tuple(holds))
        data = await self.call("POST", "/v1/register", msgspec.json.encode(request), bearer=self.token)
        answer = msgspec.json.decode(data, type=RegisterResponse)
        self.session = answer.session
        return answer

    async def lease(self, most: int = 1, *, wait: float = 0.0) -> tuple[Grant, ...]:
        return (await self.post("/v1/lease", LeaseRequest(most, wait), LeaseResponse)).grants

    async def renew(self, *holds: Hold, wait: float = 0.0) -> RenewResponse:
        return await self.post("/v1/renew", RenewRequest(holds, wait), RenewResponse)

    async def deliver(self, *results: TaskResult) -> list[str]:
        answer = await self.post("/v1/results", ResultsRequest(results), ResultsResponse)
        return [receipt.receipt for receipt in answer.receipts]


def succeeded(grant: Grant) -> TaskResult:
    return TaskResult(grant.task, grant.attempt, "succeeded")


def hold(grant: Grant) -> Hold:
    return Hold(grant.task, grant.attempt)


class Service:
    """A store, a dispatcher and its server, which can be restarted on the same store."""

    def __init__(self, folder: Path, http: aiohttp.ClientSession) -> None:
        self.folder, self.http = folder, http

    @asynccontextmanager
    async def running(self, *, pace: Pace = LONG) -> AsyncIterator[Dispatcher]:
        self.store = SqliteStore(self.folder)
        try:
            async with (
                Dispatcher(self.store, holder="test", pace=pace) as dispatcher,
                DispatchServer(dispatcher) as server,
            ):
                self.url, self.dispatcher = server.url, dispatcher
                yield dispatcher
        finally:
            await self.store.close()

    async def client(self, worker: str = "w1", **fields: Any) -> WireClient:
        token = await self.dispatcher.issue_token(pool=POOL, worker=worker)
        client = WireClient(self.http, self.url, token, worker=worker)
        await client.register(**fields)
        return client

    async def submit(self, count: int = 1, *, uid: str = "job-1", begin: int = 0, noop: bool = False) -> None:
        spec = msgspec.json.encode(NoopTask() if noop else CommandTask(argv=("true",)))
        rows = [TaskRecord(TaskKey(uid, f"t{n}"), n, spec) for n in range(begin, begin + count)]
        await self.dispatcher.submit(JobRecord(uid, "default", uid, POOL), rows)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


@pytest.fixture
async def service(tmp_path: Path, http: aiohttp.ClientSession) -> AsyncIterator[Service]:
    service = Service(tmp_path, http)
    async with service.running():
        yield service


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


# --- who may call, and what is refused --------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/register", "/v1/lease", "/v1/renew", "/v1/results", "/v1/output", "/v1/leave"])
async def test_a_call_without_a_token_is_refused_in_words(service: Service, path: str) -> None:
    client = WireClient(service.http, service.url, "")
    with pytest.raises(Refused, match="no `Authorization: Bearer TOKEN` header") as refused:
        await client.call("POST", path, b"{}", bearer=None)
    assert refused.value.status == 401
    assert refused.value.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_wrong_token_is_refused_in_words(service: Service) -> None:
    with pytest.raises(Refused, match="token that worker 'w1'") as refused:
        await WireClient(service.http, service.url, "wrong").register()
    assert (refused.value.status, refused.value.body.reason) == (401, "TokenUnknown")


async def test_the_token_of_another_worker_is_refused(service: Service) -> None:
    token = await service.dispatcher.issue_token(pool=POOL, worker="w1")
    with pytest.raises(Refused) as refused:
        await WireClient(service.http, service.url, token, worker="w2").register()
    assert refused.value.status == 403


async def test_another_protocol_version_is_refused_in_words(service: Service) -> None:
    client = await service.client()
    with pytest.raises(Refused, match="speaks protocol 2") as refused:
        await client.register(protocol=2)
    assert (refused.value.status, refused.value.body.reason) == (409, "ProtocolUnsupported")


async def test_a_register_request_of_a_later_protocol_is_told_so_whatever_it_looks_like(service: Service) -> None:
    client = await service.client()
    with pytest.raises(Refused) as refused:
        await client.call("POST", "/v1/register", b'{"protocol": 7, "who": "me"}', bearer=client.token)
    assert refused.value.status == 409


async def test_fields_that_this_version_does_not_know_are_passed_over(service: Service) -> None:
    client = await service.client()
    data = await client.call("POST", "/v1/lease", b'{"max": 1, "mood": "good"}', bearer=client.session)
    assert msgspec.json.decode(data, type=LeaseResponse) == LeaseResponse()


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/v1/lease", b"not json", "the body is not what this call takes"),
        ("/v1/lease", b'{"max": "many"}', "Expected `int`"),
        ("/v1/lease", b'{"max": 0}', "max is 0"),
        ("/v1/renew", b'{"holds": [{"task": "x", "attempt": 1}]}', "JOB/TASK"),
        ("/v1/results", b'{"results": [{"task": "a/b", "attempt": 1, "status": "fine"}]}', "Invalid enum value"),
        ("/v1/results", b"[" * 100_000, "the body is not what this call takes"),
    ],
)
async def test_a_bad_body_is_refused_in_words(service: Service, path: str, body: bytes, words: str) -> None:
    client = await service.client()
    with pytest.raises(Refused, match=words) as refused:
        await client.call("POST", path, body, bearer=client.session)
    assert refused.value.status == 400


async def test_a_body_over_its_limit_is_refused_before_it_is_kept(service: Service) -> None:
    client = await service.client()
    with pytest.raises(Refused, match="over 16777216 bytes") as refused:
        await client.call("POST", "/v1/results", b"x" * (17 * 1024 * 1024), bearer=client.session)
    assert refused.value.status == 413


async def test_a_body_that_never_comes_is_given_up_on(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mahavishnu_operator.dispatch.asgi.BODY_SECONDS", 0.05)
    client = await service.client()
    host, port = service.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /v1/lease HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.session}\r\nContent-Length: 10\r\n\r\n"
    writer.write(head.encode() + b"{")
    async with asyncio.timeout(5):
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
    writer.close()
    assert await client.lease() == ()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/lease", 405), ("POST", "/v2/lease", 404), ("DELETE", "/v1/blobs/x", 405)],
)
async def test_what_the_dispatcher_does_not_answer_is_refused(
    service: Service, method: str, path: str, status: int
) -> None:
    client = await service.client()
    with pytest.raises(Refused, match="nothing that the dispatcher answers") as refused:
        await client.call(method, path, b"", bearer=client.session)
    assert refused.value.status == status


# --- blobs, output, probes ----------------------------------------------------------------------------


async def test_a_blob_is_stored_under_its_digest_and_read_back(service: Service) -> None:
    client = await service.client()
    data = b"a\0b\0" * 500_000
    path = f"/v1/blobs/{hashlib.sha256(data).hexdigest()}"
    await client.call("PUT", path, data, bearer=client.session)
    assert await client.call("GET", path, b"", bearer=client.session) == data


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


# --- what readers get ------------------------------------------------------------------------------------


async def read(service: Service, path: str) -> tuple[int, bytes]:
    """One GET of the readers' application, called as a server would."""
    app, sent = results_app(service.dispatcher, service.store), []
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": "GET",
        "path": f"/results/v1/jobs{path}",
        "query_string": query.encode(),
        "headers": [],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


async def test_readers_see_every_task_with_its_result(service: Service) -> None:
    client = await service.client()
    await service.submit(2)
    [grant] = await client.lease()
    await client.deliver(msgspec.structs.replace(succeeded(grant), exit_code=0, reason="Completed"))
    status, body = await read(service, "/job-1/tasks")
    rows = msgspec.json.decode(body)
    assert status == 200
    assert [(row["id"], row["state"], row["status"]) for row in rows] == [
        ("t0", "succeeded", "succeeded"),
        ("t1", "queued", ""),
    ]
    assert (rows[0]["attempts"], rows[0]["reason"], rows[0]["exitCode"]) == (1, "Completed", 0)


async def test_readers_get_output_page_by_page_and_the_tail_where_nothing_was_streamed(service: Service) -> None:
    client = await service.client(slots=2)
    await service.submit(2)
    streamed, silent = await client.lease(2)
    await client.post("/v1/output", OutputRequest((OutputChunk(streamed.task, 1, "stdout", 0, b"0123456789"),)), Empty)
    await client.deliver(msgspec.structs.replace(succeeded(silent), stdout="the tail"), succeeded(streamed))
    assert await read(service, "/job-1/tasks/t0/output?offset=4&limit=3") == (200, b"456")
    assert await read(service, "/job-1/tasks/t0/output?offset=10") == (200, b"")
    assert await read(service, "/job-1/tasks/t1/output") == (200, b"the tail")
    assert await read(service, "/job-1/tasks/t1/output?offset=4") == (200, b"tail")
    assert await read(service, "/job-1/tasks/t1/output?offset=8") == (200, b"")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nobody/tasks", 404),
        ("/nobody/report.sarif", 404),
        ("/job-1/tasks/t9/output", 404),
        ("/job-1/tasks/t0/output?stream=shout", 400),
        ("/job-1/tasks/t0/output?offset=-1", 400),
    ],
)
async def test_what_is_not_there_or_makes_no_sense_is_refused_in_words(
    service: Service, path: str, status: int
) -> None:
    await service.submit()
    got, body = await read(service, path)
    assert got == status
    assert msgspec.json.decode(body, type=ErrorBody).message


async def test_readers_get_the_stored_report(service: Service) -> None:
    await service.submit()
    sha256 = await service.store.put_blob(b'{"version":"2.1.0"}')
    report = ReportRecord("job-1", sha256, 19, False, b"{}", 0.0)
    await service.store.put_report(service.dispatcher.epoch, report)
    assert await read(service, "/job-1/report.sarif") == (200, b'{"version":"2.1.0"}')


async def workers_wait(service: Service, count: int) -> None:
    """Until that many calls of workers are being answered by waiting."""
    async with asyncio.timeout(5):
        while sum(worker.calls for worker in service.dispatcher.core.workers.all()) != count:
            await service.http.get(f"{service.url}/healthz")
