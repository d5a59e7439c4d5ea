"""A server on loopback answers its own user, and no web page."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from mahavishnu_operator.resources.rest.guard import Guard, host_name

from .asgi import call


async def _ok(request: object) -> PlainTextResponse:
    return PlainTextResponse("ok")


def guarded(*, token: str | None = None) -> Starlette:
    routes = [Route("/", _ok), Route("/healthz", _ok)]
    return Starlette(routes=routes, middleware=[Middleware(Guard, allowed_hosts=["box.example"], token=token)])


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8680", "127.0.0.1:8680", "127.3.2.1", "[::1]:80", "box.example:1"]
)
async def test_our_own_names_are_served(host: str) -> None:
    assert (await call(guarded(), "GET", "/", headers={"host": host})).code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "localhost@evil", "", "a/b", "localhost:x", "0.0.0.0"],
)
async def test_a_foreign_host_is_refused_in_words(host: str) -> None:
    answer = await call(guarded(), "GET", "/", headers={"host": host})
    assert answer.code == 403
    assert "not served here" in answer.json["message"]


async def test_two_hosts_are_refused() -> None:
    answer = await call(guarded(), "GET", "/", headers=[("host", "localhost"), ("host", "evil.example")])
    assert answer.code == 403


@pytest.mark.parametrize(
    ("origin", "code"),
    [
        ("http://127.0.0.1:8680", 200),
        ("http://evil.example", 403),
        ("http://127.0.0.1:3000", 403),
        ("null", 403),
    ],
)
async def test_an_origin_must_be_our_own(origin: str, code: int) -> None:
    headers = {"host": "127.0.0.1:8680", "origin": origin}
    assert (await call(guarded(), "GET", "/", headers=headers)).code == code


@pytest.mark.parametrize(
    ("given", "code"), [("Bearer s3cret", 200), ("bearer s3cret", 200), ("Bearer x", 401), ("Basic s3cret", 401)]
)
async def test_a_token_must_be_borne(given: str, code: int) -> None:
    headers = {"host": "localhost", "authorization": given}
    assert (await call(guarded(token="s3cret"), "GET", "/", headers=headers)).code == code


async def test_who_lacks_the_token_is_told_how_it_is_borne_and_where_it_is() -> None:
    guard = Middleware(Guard, allowed_hosts=[], token="s3cret", hint="ask Ann")
    app = Starlette(routes=[Route("/", _ok)], middleware=[guard])
    answer = await call(app, "GET", "/", headers={"host": "localhost"})
    assert (answer.code, answer.all("www-authenticate")) == (401, ["Bearer"])
    assert answer.json["message"] == "a bearer token is needed (ask Ann)"


async def test_probes_need_no_token_but_a_known_host() -> None:
    app = guarded(token="s3cret")
    assert (await call(app, "GET", "/healthz", headers={"host": "localhost"})).code == 200
    assert (await call(app, "GET", "/healthz", headers={"host": "evil.example"})).code == 403


def test_a_host_is_read_without_port_and_brackets() -> None:
    assert host_name("[::1]:8680") == "::1"
    assert host_name("Box.Example.:1") == "box.example"
    assert host_name("a b:x") is None
