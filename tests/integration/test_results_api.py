"""What readers get: report, tasks, output."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mahavishnu_operator.api.wire import (
    Empty,
    ErrorBody,
    OutputChunk,
    OutputRequest,
)
from mahavishnu_operator.dispatch.results_api import results_app
from mahavishnu_operator.store.records import ReportRecord

from .dispatch_tools import (
    Service,
    http,
    service,
    succeeded,
)

__all__ = ["http", "service"]


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
    sha256 = await service.store.put_blob(service.dispatcher.epoch, b'{"version":"2.1.0"}')
    report = ReportRecord("job-1", sha256, 19, False, b"{}", 0.0)
    await service.store.put_report(service.dispatcher.epoch, report)
    assert await read(service, "/job-1/report.sarif") == (200, b'{"version":"2.1.0"}')
