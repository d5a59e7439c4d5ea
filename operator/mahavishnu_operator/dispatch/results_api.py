"""What readers get of results: the report, the list of tasks, a task's output; mounted beside the kinds.

The pressure: outputs and reports are large and written by tools that may be hostile. What must stay true:
nothing is built larger than one page or one report; output is answered as bytes of no particular type, so
that a browser runs nothing of it.
"""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mahavishnu_operator.api.wire import ErrorBody, TaskResult
from mahavishnu_operator.store.protocol import Store
from mahavishnu_operator.store.records import TaskKey
from mahavishnu_operator.support.errors import InvalidInput, MahavishnuError, NotFound

from .protocol import Dispatch

DEFAULT_LIMIT = 65_536
MAX_LIMIT = 1024 * 1024
STREAMS = ("stdout", "stderr")
_SAFE = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}


class TaskRow(msgspec.Struct, frozen=True, rename="camel"):
    """One task as readers see it; fields of its result only once it has one."""

    id: str
    state: str
    attempts: int = 0
    status: str = ""
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    duration_seconds: float = 0.0
    stdout_bytes: int = 0
    stderr_bytes: int = 0


def results_app(dispatcher: Dispatch, store: Store) -> Starlette:
    """The application; mount it at the root. Errors are ErrorBody with 400, 404 or 500."""

    async def report(request: Request) -> Response:
        uid = request.path_params["uid"]
        found = await store.report(uid)
        data = None if found is None else await store.blob(found.sha256)
        if found is None or data is None:
            raise NotFound(f"there is no report of job {uid}", hint="it is written when the job has ended")
        headers = {**_SAFE, "ETag": f'"{found.sha256}"'}
        return Response(data, media_type="application/sarif+json", headers=headers)

    async def tasks(request: Request) -> Response:
        uid = request.path_params["uid"]
        rows = await _rows(dispatcher, store, uid)
        if not rows:
            raise NotFound(f"there are no tasks of job {uid}", hint="it was not planned yet, or was deleted")
        return Response(msgspec.json.encode(rows), media_type="application/json", headers=_SAFE)

    async def output(request: Request) -> Response:
        key = TaskKey(request.path_params["uid"], request.path_params["task"])
        stream = request.query_params.get("stream", "stdout")
        if stream not in STREAMS:
            raise InvalidInput(f"stream {stream!r} is none of {', '.join(STREAMS)}")
        offset = _number(request, "offset", 0)
        limit = min(_number(request, "limit", DEFAULT_LIMIT), MAX_LIMIT)
        data = await store.output(key, stream=stream, offset=offset, limit=limit)
        if not data:
            data = await _tail(dispatcher, store, key, stream=stream, offset=offset, limit=limit)
        return Response(data, media_type="application/octet-stream", headers=_SAFE)

    return Starlette(
        routes=[
            Route("/results/v1/jobs/{uid}/report.sarif", report),
            Route("/results/v1/jobs/{uid}/tasks", tasks),
            Route("/results/v1/jobs/{uid}/tasks/{task}/output", output),
        ],
        exception_handlers={MahavishnuError: _refused},
    )


async def _rows(dispatcher: Dispatch, store: Store, uid: str) -> list[TaskRow]:
    known = await store.tasks(uid)
    results: dict[str, TaskResult] = dict(await dispatcher.results(uid)) if known else {}
    rows = []
    for task in known:
        result = results.get(task.key.task)
        if result is None:
            rows.append(TaskRow(id=task.key.task, state=task.state.value, attempts=task.attempts))
            continue
        rows.append(
            TaskRow(
                id=task.key.task,
                state=task.state.value,
                attempts=task.attempts,
                status=result.status,
                reason=result.reason,
                message=result.message,
                exit_code=result.exit_code,
                duration_seconds=result.duration_seconds,
                stdout_bytes=result.stdout_bytes,
                stderr_bytes=result.stderr_bytes,
            )
        )
    return rows


async def _tail(dispatcher: Dispatch, store: Store, key: TaskKey, *, stream: str, offset: int, limit: int) -> bytes:
    """The end of a stream that came with the result, where nothing was streamed while the task ran."""
    if offset and await store.output(key, stream=stream, offset=0, limit=1):
        return b""
    result = await dispatcher.result(key.job, key.task)
    if result is None:
        if any(task.key == key for task in await store.tasks(key.job)):
            return b""
        raise NotFound(f"job {key.job} has no task {key.task!r}")
    text: str = result.stdout if stream == "stdout" else result.stderr
    return text.encode()[offset : offset + limit]


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise InvalidInput(f"{name} {text[:40]!r} is no whole number from 0")
    return int(text)


async def _refused(_request: Request, error: Any) -> Response:
    status = 404 if isinstance(error, NotFound) else 400 if isinstance(error, InvalidInput) else 500
    body = msgspec.json.encode(ErrorBody(error.reason, error.message, error.hint))
    return Response(body, status_code=status, media_type="application/json")
