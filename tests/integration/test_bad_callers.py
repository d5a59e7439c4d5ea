"""Callers that lie or flood, against the real servers: what they get, and that the next one is served."""

from __future__ import annotations

import base64
import json
import socket
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from mahavishnu_operator.dispatch.desk import CHUNK_COST
from mahavishnu_operator.support.http_heads import MAX_HEAD_BYTES

from .cli_tools import Up, running_up
from .dispatch_tools import Refused, Service, WireClient, http, service

__all__ = ["http", "service"]
KINDS = "/apis/mahavishnu.dev/v1alpha1"
POOLS = f"{KINDS}/namespaces/default/workerpools"
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running_up(tmp_path_factory.mktemp("up") / "data") as running:
        yield running


def ports(up: Up) -> list[int]:
    """The API's port and the dispatcher's."""
    listening = psutil.Process(up.process.pid).net_connections()
    return sorted(each.laddr.port for each in listening if each.status == psutil.CONN_LISTEN)


def resident(up: Up) -> int:
    return int(psutil.Process(up.process.pid).memory_info().rss)


def sent(port: int, *pieces: bytes) -> bytes:
    """The first line of the answer to raw bytes; b'' when the connection was cut while they were sent."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
            return connection.makefile("rb").readline().rstrip()
        except ConnectionError:
            return b""


def ask(up: Up, method: str, path: str, body: bytes = b"", type_: str = "application/json") -> tuple[int, Any]:
    request = urllib.request.Request(up.url + path, data=body or None, method=method, headers={"Content-Type": type_})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def manifest(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "mahavishnu.dev/v1alpha1",
        "kind": "WorkerPool",
        "metadata": {"name": "p"},
        "spec": {"backend": "local-process", "replicas": 0, **spec},
    }


# --- bytes that are no HTTP -----------------------------------------------------------------------

HEAD = b"POST /v1/lease HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n", id="a chunk of no length"),
        pytest.param(HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="two lengths"),
        pytest.param(HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", id="a length twice"),
        pytest.param(HEAD + b"Content-Length: -3\r\n\r\nabc", id="a negative length"),
        pytest.param(HEAD + b"Content-Length: 99999999999999999999999\r\n\r\nabc", id="a length beyond 64 bits"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", id="TLS to a plain port"),
        pytest.param(b"GET / HTTP/9.9\r\n\r\n", id="another version"),
        pytest.param(b"\0" * 100, id="NULs"),
    ],
)
def test_what_is_no_http_is_answered_with_400_and_the_next_caller_is_served(up: Up, request_: bytes) -> None:
    for port in ports(up):
        assert sent(port, request_) == b"HTTP/1.1 400 Bad Request"
        assert sent(port, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    ("head", "more"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nX: ", b"y" * MIB, id="one header without an end"),
        pytest.param(b"GET / HTTP/1.1\r\n", b"X: y\r\n" * (MIB // 6), id="headers without an end"),
        pytest.param(b"GET /", b"y" * MIB, id="an address without an end"),
        pytest.param(
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * (MIB // 6), id="trailers without an end"
        ),
    ],
)
def test_a_head_without_an_end_is_cut_off_and_costs_no_memory(up: Up, head: bytes, more: bytes) -> None:
    for port in ports(up):
        before = resident(up)
        assert sent(port, head, *([more] * 40)) in (b"", b"HTTP/1.1 431 Request Header Fields Too Large")
        assert resident(up) - before < 40 * MIB
        assert sent(port, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") == b"HTTP/1.1 200 OK"


def test_headers_up_to_their_bound_are_read(up: Up) -> None:
    for port in ports(up):
        padding = b"X: " + b"y" * (MAX_HEAD_BYTES - 200)
        assert sent(port, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n", padding, b"\r\n\r\n") == b"HTTP/1.1 200 OK"


def test_requests_sent_all_at_once_are_all_answered(up: Up) -> None:
    one = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    count = 2 * MAX_HEAD_BYTES // len(one)
    last = one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with socket.create_connection(("127.0.0.1", ports(up)[0]), timeout=60) as connection:
        connection.sendall(one * count + last)
        assert connection.makefile("rb").read().count(b"HTTP/1.1 200 OK") == count + 1


# --- bodies for the API ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "type_", "code", "words"),
    [
        pytest.param(b"[" * 100_000, "application/json", 400, "nested deeper than 64", id="JSON 100,000 deep"),
        pytest.param(b'{"a":' * 100_000, "application/json", 400, "nested deeper than 64", id="objects in objects"),
        pytest.param(b"[" * 1_000_000, "application/yaml", 400, "nested deeper than 64", id="YAML a million deep"),
        pytest.param(b"- " * 500_000, "application/yaml", 400, "nested deeper than 64", id="YAML lists in lists"),
        pytest.param(b"a: &a [*a]", "application/yaml", 400, "aliases are not taken", id="an alias"),
        pytest.param(b"a: b\n---\nc: d", "application/yaml", 400, "2 YAML documents", id="two documents"),
        pytest.param(b"{}", "multipart/form-data", 415, "accepted: application/json", id="a form"),
        pytest.param(b"\x1f\x8b\x08\0", "application/json", 400, "cannot be read", id="gzip"),
        pytest.param(b" " * 1_600_000, "application/json", 413, "1572864 bytes", id="over the bound"),
        pytest.param(
            json.dumps(manifest(backend="kubernetes", kubernetes={"affinity": {"a": 7}})).replace("7", "1e400"),
            "application/json",
            400,
            "1e400 is no number",
            id="a number that nobody could read again",
        ),
    ],
)  # fmt: skip
def test_a_body_that_is_none_is_refused_and_nothing_is_stored(
    up: Up, body: bytes | str, type_: str, code: int, words: str
) -> None:
    status, answer = ask(up, "POST", POOLS, body.encode() if isinstance(body, str) else body, type_)
    assert (status, answer["kind"]) == (code, "Status")
    assert words in answer["message"]
    assert ask(up, "GET", POOLS)[1]["items"] == []


def test_a_patch_that_doubles_an_object_again_and_again_is_refused(up: Up) -> None:
    assert ask(up, "POST", POOLS, json.dumps(manifest()).encode())[0] == 201
    doubling = [{"op": "copy", "from": "", "path": f"/x{n}"} for n in range(64)]
    code, answer = ask(up, "PATCH", f"{POOLS}/p", json.dumps(doubling).encode(), "application/json-patch+json")
    assert (code, "all copies together have over" in answer["message"]) == (422, True)
    assert ask(up, "DELETE", f"{POOLS}/p")[0] == 200


@pytest.mark.parametrize(
    "query",
    [
        "labelSelector=" + "a," * 20_000 + "%21",
        "labelSelector=" + "a." * 20_000 + "%21",
        "fieldSelector=spec.backend%3Dx",
        "watch=1&timeoutSeconds=-1",
        "watch=1&timeoutSeconds=1e9",
    ],
    ids=lambda query: query[:40],
)
def test_a_question_that_cannot_be_read_is_refused_at_once(up: Up, query: str) -> None:
    assert ask(up, "GET", f"{POOLS}?{query}")[0] == 400


def test_hundreds_of_watches_are_served_and_leave_nothing(up: Up) -> None:
    process = psutil.Process(up.process.pid)
    before = process.num_fds()
    request = f"GET {POOLS}?watch=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    watches = [socket.create_connection(("127.0.0.1", int(up.url.rpartition(":")[2])), timeout=60) for _ in range(300)]
    for watch in watches:
        watch.sendall(request)
    assert ask(up, "POST", POOLS, json.dumps(manifest()).encode())[0] == 201
    for watch in watches:
        lines = watch.makefile("rb")
        assert lines.readline().startswith(b"HTTP/1.1 200")
        while b'"ADDED"' not in lines.readline():
            pass
        watch.close()
        lines.close()
    assert ask(up, "DELETE", f"{POOLS}/p")[0] == 200
    while process.num_fds() > before + 5:  # the kernel tells nobody; pytest's own time-out ends this
        ask(up, "GET", POOLS)


# --- workers that lie -----------------------------------------------------------------------------


async def deliver(service: Service, client: WireClient, **fields: Any) -> bytes:
    """What is answered to a result with these fields."""
    await service.submit(1)
    (grant,) = await client.lease()
    result = {"task": grant.task, "attempt": 1, "status": "succeeded", **fields}
    return await client.call("POST", "/v1/results", json.dumps({"results": [result]}).encode(), bearer=client.session)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"exit_code": 2**70}, "exit_code of .* must be"),
        ({"exit_code": -(2**70)}, "exit_code of .* must be"),
        ({"duration_seconds": 1e308}, "duration_seconds of .* must be"),
        ({"duration_seconds": -1.0}, "duration_seconds of .* must be"),
        ({"stdout_bytes": 2**64}, "stdout_bytes of .* must be"),
        ({"stderr_bytes": -1}, "stderr_bytes of .* must be"),
        ({"payload": "x" * 40_000}, "payload of .* is 40000 long"),
        ({"stdout": "x" * 40_000}, "stdout of .* is 40000 long"),
        ({"payload_sha256": "../../etc/passwd"}, "no SHA-256"),
        ({"message": "\ud800"}, "not what this call takes"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_a_result_that_cannot_be_true_is_refused_and_the_worker_can_go_on(
    service: Service, fields: dict[str, Any], words: str
) -> None:
    client = await service.client()
    with pytest.raises(Refused, match=words) as refused:
        await deliver(service, client, **fields)
    assert refused.value.status in (400, 413)
    assert await client.deliver() == []


async def test_an_attempt_that_was_never_granted_counts_nothing(service: Service) -> None:
    client = await service.client()
    assert b"superseded" in await deliver(service, client, attempt=10**30)
    assert (await service.dispatcher.result("job-1", "t0")) is None


async def test_pieces_of_output_without_bytes_or_out_of_place_are_not_kept(service: Service) -> None:
    await service.submit(1)
    client = await service.client()
    (grant,) = await client.lease()
    odd = [(0, b""), (7, b""), (-1, b"x"), (2**60, b"x")]
    chunks = [
        {"task": grant.task, "attempt": 1, "stream": "stdout", "offset": at, "data": base64.b64encode(data).decode()}
        for at, data in odd
    ]
    await client.call("POST", "/v1/output", json.dumps({"chunks": chunks}).encode(), bearer=client.session)
    with sqlite3.connect(f"file:{service.folder}/engine.db?mode=ro", uri=True) as rows:
        assert rows.execute("SELECT count(*) FROM outputs").fetchone() == (0,)
    rows.close()


async def test_a_flood_of_tiny_pieces_is_ended_by_what_they_take_in_the_store(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mahavishnu_operator.dispatch.desk.MAX_BLOB_BYTES", 100 * CHUNK_COST)
    await service.submit(1)
    client = await service.client()
    (grant,) = await client.lease()
    chunks = [{"task": grant.task, "attempt": 1, "stream": "stdout", "offset": at, "data": "eA=="} for at in range(200)]
    with pytest.raises(Refused, match="wrote over") as refused:
        await client.call("POST", "/v1/output", json.dumps({"chunks": chunks}).encode(), bearer=client.session)
    assert refused.value.status == 413
