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

from mahavishnu_operator.api.wire import ErrorBody
from mahavishnu_operator.store.protocol import Store
from mahavishnu_operator.store.records import TaskKey
from mahavishnu_operator.support.errors import InvalidInput, MahavishnuError, NotFound

from .protocol import Dispatch
from .reading import DEFAULT_LIMIT, MAX_LIMIT, STREAMS, read_output, read_report, task_rows

_SAFE = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}


def results_app(dispatcher: Dispatch, store: Store) -> Starlette:
    """The application; mount it at the root. Errors are ErrorBody with 400, 404 or 500."""

    async def report(request: Request) -> Response:
        data, sha256 = await read_report(store, request.path_params["uid"])
        headers = {**_SAFE, "ETag": f'"{sha256}"'}
        return Response(data, media_type="application/sarif+json", headers=headers)

    async def tasks(request: Request) -> Response:
        uid = request.path_params["uid"]
        rows = await task_rows(dispatcher, store, uid)
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
        data = await read_output(dispatcher, store, key, stream=stream, offset=offset, limit=limit)
        return Response(data, media_type="application/octet-stream", headers=_SAFE)

    return Starlette(
        routes=[
            Route("/results/v1/jobs/{uid}/report.sarif", report),
            Route("/results/v1/jobs/{uid}/tasks", tasks),
            Route("/results/v1/jobs/{uid}/tasks/{task}/output", output),
        ],
        exception_handlers={MahavishnuError: _refused},
    )


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise InvalidInput(f"{name} {text[:40]!r} is no whole number from 0")
    return int(text)


async def _refused(_request: Request, error: Any) -> Response:
    status = 404 if isinstance(error, NotFound) else 400 if isinstance(error, InvalidInput) else 500
    body = msgspec.json.encode(ErrorBody(error.reason, error.message, error.hint))
    return Response(body, status_code=status, media_type="application/json")
