"""A server that answers an agent from a script: what the real dispatcher does only when something is wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web

from mahavishnu_operator.api.wire import (
    Empty,
    ErrorBody,
    Grant,
    LeaseResponse,
    NoopTask,
    Receipt,
    RegisterResponse,
    RenewRequest,
    RenewResponse,
    ResultsRequest,
    ResultsResponse,
    TaskResult,
)

Answer = Callable[[int], web.Response | None]  # given how often the path was asked; None: answer properly


def answered(body: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(body))


def refusal(status: int, reason: str) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(ErrorBody(reason, f"scripted {reason}")))


class ScriptedDispatcher:
    """Leases a number of no-ops and keeps their results; `answers` by path take the place of proper answers."""

    def __init__(self, *, tasks: int, answers: dict[str, Answer]) -> None:
        self._left, self._answers = tasks, answers
        self.asked: dict[str, int] = {}
        self.results: list[TaskResult] = []
        self.renewal = RenewRequest()  # the last one
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        path, body = request.path, await request.read()
        self.asked[path] = self.asked.get(path, 0) + 1
        if path == "/v1/renew":
            self.renewal = msgspec.json.decode(body, type=RenewRequest)
        if path in self._answers and (scripted := self._answers[path](self.asked[path])) is not None:
            return scripted
        return answered(self._proper(path, body))

    def _proper(self, path: str, body: bytes) -> object:
        match path:
            case "/v1/register":
                return RegisterResponse(session="s", epoch=1, lease_seconds=6.0, renew_seconds=2.0)
            case "/v1/lease" if self._left:
                count, self._left = self._left, 0
                return LeaseResponse(tuple(Grant(f"j/t{n}", 1, 1, 6.0, 60.0, NoopTask()) for n in range(count)))
            case "/v1/lease":
                return LeaseResponse(drain=len(self.results) > 0)
            case "/v1/renew":
                return RenewResponse()
            case "/v1/results":
                results = msgspec.json.decode(body, type=ResultsRequest).results
                self.results += results
                return ResultsResponse(tuple(Receipt(r.task, r.attempt, "recorded") for r in results))
            case _:
                return Empty()


@asynccontextmanager
async def scripted_dispatcher(
    *, tasks: int = 1, answers: dict[str, Answer] | None = None
) -> AsyncIterator[ScriptedDispatcher]:
    dispatcher = ScriptedDispatcher(tasks=tasks, answers=answers or {})
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", dispatcher.answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    dispatcher.url = f"http://{host}:{port}"
    try:
        yield dispatcher
    finally:
        await runner.cleanup()
