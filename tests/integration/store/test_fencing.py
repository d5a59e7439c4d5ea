"""A dispatcher that was stopped while another one took over changes no row when it wakes up, whatever waits for it."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import psycopg

from mahavishnu_operator.api.wire import (
    Grant,
    LeaseRequest,
    OutputChunk,
    OutputRequest,
    ResultsRequest,
    TaskResult,
)
from mahavishnu_operator.dispatch.core import Pace
from mahavishnu_operator.dispatch.dispatcher import Dispatcher
from mahavishnu_operator.store.postgres import open_postgres
from mahavishnu_operator.store.records import ResultRecord, TaskKey, TaskState
from mahavishnu_operator.store.schema import TABLES
from tests.integration.dispatch_tools import WireClient

from .dispatcher_process import REPLACED

ROOT = Path(__file__).resolve().parents[3]
TASKS, WORKERS = 400, 4
OUTPUT = b"x" * 100_000


async def test_zero_rows_change_when_a_stopped_dispatcher_wakes_up_with_full_socket_buffers(database: str) -> None:
    first = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.store.dispatcher_process", database, str(TASKS), str(WORKERS)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert first.stdout is not None
    assert first.stdin is not None
    try:
        said = json.loads(await first.stdout.readline())
        clients, grants = await lease_some(said)
        first.send_signal(signal.SIGSTOP)
        calls = [fill(said["url"], client, mine) for client, mine in zip(clients, grants, strict=True)]
        await take_over(database, grants[0][:5])
        before = all_rows(database)
        first.send_signal(signal.SIGCONT)
        statuses = await asyncio.gather(*(asyncio.to_thread(answers, each) for each in calls))
        after = all_rows(database)
        first.stdin.close()
        code = await first.wait()
    finally:
        if first.returncode is None:
            first.kill()
            await first.wait()
    assert after == before
    assert code == REPLACED
    assert {status for each in statuses for status in each} == {503}
    assert all(len(each) >= 3 for each in statuses)  # several calls of each worker had been waiting


async def lease_some(said: dict[str, Any]) -> tuple[list[WireClient], list[tuple[Grant, ...]]]:
    """Registered workers, and what each holds."""
    clients, grants = [], []
    async with aiohttp.ClientSession() as http:
        for number, token in enumerate(said["tokens"]):
            client = WireClient(http, said["url"], token, worker=f"w{number}")
            await client.register(slots=64)
            clients.append(client)
            grants.append(await client.lease(64))
    return clients, grants


def fill(url: str, client: WireClient, grants: tuple[Grant, ...]) -> socket.socket:
    """Send results, outputs and a wish for more on one connection until it takes no more; the last call is cut off."""
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname, address.port or 0))
    connection.setblocking(False)
    for grant in grants:
        result = TaskResult(grant.task, grant.attempt, "succeeded", stdout="y" * 10_000)
        chunk = OutputChunk(grant.task, grant.attempt, "stdout", 0, OUTPUT)
        for path, body in (
            ("/v1/output", OutputRequest((chunk,))),
            ("/v1/results", ResultsRequest((result,))),
            ("/v1/lease", LeaseRequest(8)),
        ):
            try:
                connection.sendall(request(path, msgspec.json.encode(body), client.session))
            except BlockingIOError:
                connection.setblocking(True)
                return connection
    raise AssertionError("the socket's buffer took all of it: send more")


def request(path: str, body: bytes, session: str) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {session}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def answers(connection: socket.socket) -> list[int]:
    """The status of every call that the dispatcher had received whole."""
    connection.settimeout(60)
    connection.shutdown(socket.SHUT_WR)
    received = b""
    with connection:
        while data := connection.recv(65536):
            received += data
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


async def take_over(url: str, grants: tuple[Grant, ...]) -> None:
    """Another dispatcher takes the epoch, and some of the tasks get their result."""
    store = await open_postgres(url)
    async with Dispatcher(store, holder="the second", pace=Pace(lease_seconds=300.0, renew_seconds=100.0)) as second:
        results = [ResultRecord(TaskKey.parse(g.task), g.attempt, TaskState.SUCCEEDED, b"{}", 1.0) for g in grants]
        await store.record_results(second.epoch, results)
    await store.close()


def all_rows(url: str) -> dict[str, list[tuple[Any, ...]]]:
    with psycopg.connect(url) as connection:
        tables = (*TABLES, "blobs")
        return {table: sorted(connection.execute(f"SELECT t::text FROM {table} t").fetchall()) for table in tables}
