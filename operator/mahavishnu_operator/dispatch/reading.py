"""What readers are told of a job's tasks and their outputs, whichever way they come.

What must stay true: nothing is built larger than one page; the end of an output that came with the result stands in for
the whole where nothing was streamed.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mahavishnu_operator.api.answers import TaskAnswer, TaskRow
from mahavishnu_operator.api.wire import TaskResult
from mahavishnu_operator.store.protocol import Store
from mahavishnu_operator.store.records import TaskKey, TaskRecord
from mahavishnu_operator.support.errors import NotFound

from .protocol import Dispatch

DEFAULT_LIMIT = 65_536
MAX_LIMIT = 1024 * 1024
STREAMS = ("stdout", "stderr")
_RESULT = msgspec.json.Decoder(TaskResult)


async def read_report(store: Store, uid: str) -> tuple[bytes, str]:
    """The report of a job as stored, and its digest. NotFound: there is none."""
    found = await store.report(uid)
    data = None if found is None else await store.blob(found.sha256)
    if found is None or data is None:
        raise NotFound(f"there is no report of job {uid}", hint="it is written when the job has ended")
    return data, found.sha256


async def task_rows(dispatcher: Dispatch, store: Store, uid: str) -> list[TaskRow]:
    """All tasks of a job by seq; none: it was not planned yet, or is not known."""
    known = await store.tasks(uid)
    results: dict[str, TaskResult] = dict(await dispatcher.results(uid)) if known else {}
    workers = await store.workers(uid) if known else {}
    return [
        TaskRow(**_facts(task, results.get(task.key.task), worker=workers.get(task.key.task, ""))) for task in known
    ]


async def task_answer(store: Store, key: TaskKey) -> TaskAnswer:
    """One task and what it wrote. NotFound: there is no such task."""
    found = await store.outcome(key)
    if found is None:
        raise NotFound(f"the job has no task {key.task!r}")
    result = _RESULT.decode(found.result.body) if found.result is not None else None
    facts = _facts(found.task, result, worker=found.worker)
    if result is None:
        return TaskAnswer(**facts)
    return TaskAnswer(**facts, stdout=result.stdout, stderr=result.stderr)


def _facts(task: TaskRecord, result: TaskResult | None, *, worker: str) -> dict[str, Any]:
    facts = {"id": task.key.task, "state": task.state.value, "attempts": task.attempts, "worker": worker}
    names = ("status", "reason", "message", "exit_code", "duration_seconds", "stdout_bytes", "stderr_bytes")
    return facts if result is None else facts | {name: getattr(result, name) for name in names}


async def read_output(
    dispatcher: Dispatch, store: Store, key: TaskKey, *, stream: str, offset: int, limit: int
) -> bytes:
    """A page of what a task wrote. NotFound: there is no such task."""
    data = await store.output(key, stream=stream, offset=offset, limit=limit)
    if data:
        return data
    # the end of it that came with the result, where nothing was streamed while the task ran
    if offset and await store.output(key, stream=stream, offset=0, limit=1):
        return b""
    result = await dispatcher.result(key.job, key.task)
    if result is None:
        if any(task.key == key for task in await store.tasks(key.job)):
            return b""
        raise NotFound(f"job {key.job} has no task {key.task!r}")
    text: str = result.stdout if stream == "stdout" else result.stderr
    return text.encode()[offset : offset + limit]
