"""What the dispatcher refuses, and in which words."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from mahavishnu_operator.api.wire import (
    LeaseResponse,
)

from .dispatch_tools import (
    POOL,
    Refused,
    Service,
    WireClient,
    http,
    service,
)

__all__ = ["http", "service"]


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
