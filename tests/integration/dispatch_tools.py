"""A dispatcher with its server, and a client that speaks api/wire.py as a worker does."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import msgspec
import pytest

from mahavishnu_operator.api.wire import (
    CommandTask,
    ErrorBody,
    Grant,
    Hold,
    LeaseRequest,
    LeaseResponse,
    NoopTask,
    RegisterRequest,
    RegisterResponse,
    RenewRequest,
    RenewResponse,
    ResultsRequest,
    ResultsResponse,
    TaskResult,
    TaskSpec,
)
from mahavishnu_operator.dispatch.core import Pace
from mahavishnu_operator.dispatch.dispatcher import Dispatcher
from mahavishnu_operator.dispatch.server import DispatchServer
from mahavishnu_operator.store.records import JobRecord, TaskKey, TaskRecord
from mahavishnu_operator.store.sqlite import SqliteStore

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

    def __init__(
        self, http: aiohttp.ClientSession, url: str, token: str, *, worker: str = "w1", pool: str = POOL
    ) -> None:
        self.http, self.url, self.token, self.worker, self.pool = http, url, token, worker, pool
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
        request = RegisterRequest(protocol, self.pool, self.worker, incarnation, slots, "1.0", tuple(holds))
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

    async def submit_spec(self, spec: TaskSpec, *, uid: str = "job-1", task: str = "t0") -> None:
        row = TaskRecord(TaskKey(uid, task), 0, msgspec.json.encode(spec))
        await self.dispatcher.submit(JobRecord(uid, "default", uid, POOL), [row])


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


@pytest.fixture
async def service(tmp_path: Path, http: aiohttp.ClientSession) -> AsyncIterator[Service]:
    service = Service(tmp_path, http)
    async with service.running():
        yield service


async def workers_wait(service: Service, count: int) -> None:
    """Until that many calls of workers are being answered by waiting."""
    async with asyncio.timeout(5):
        while sum(worker.calls for worker in service.dispatcher.core.workers.all()) != count:
            await service.http.get(f"{service.url}/healthz")
