"""What was answered before, found again: notes, and the results of this caller's jobs for as long as they are kept.

What must stay true: a file is said to have passed only where a tool was given it by name and found nothing, with the
time of that, since the file may have changed; nothing is read of other callers' jobs; one search looks at a bounded
number of jobs.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from mahavishnu_operator.client import Job
from mahavishnu_operator.client.notes import Note
from mahavishnu_operator.client.specs import COMMAND_TASK
from mahavishnu_operator.resources.protocol import Key
from mahavishnu_operator.support.errors import NotFound
from mahavishnu_operator.support.text import storable

from .gateway import Gateway
from .reading import read_text
from .shapes import POOL_TYPES, Shape, ended_at, worker_id

MOST_JOBS = 200  # that one search looks at, newest first
AT_ONCE = 8
MAX_CONTENT = 2000  # characters of one answer


async def search_text(
    gateway: Gateway, query: str, *, limit: int, pool: Key | None, namespace: str | None
) -> list[Shape]:
    """Notes and answers that have each word of the query in them, newest first; `namespace`: its notes alone."""
    words = query.casefold().split()
    notes = [] if pool is not None else await gateway.client.notes.all()
    rows = [_note_row(note) for note in notes if namespace in (None, note.namespace)]
    if namespace is None:
        rows += await _answers(gateway, pool)
    found = [row for row in rows if all(word in row["content"].casefold() for word in words)]
    newest = sorted(found, key=lambda row: str(row["metadata"]["timestamp"]), reverse=True)[:limit]
    return [{**row, "content": _cut(row["content"], row["metadata"]["task_id"])} for row in newest]


async def search_files(gateway: Gateway, tool: str, files: Sequence[str], *, pool: Key | None) -> Shape:
    """What a tool last said of files, for those of them that it was surely given."""
    workspace, known = str(gateway.options.workspace), dict[str, Shape]()
    wanted = {file: _place(workspace, file) for file in files}
    for job in await _ended_jobs(gateway, pool):
        missing = {file: place for file, place in wanted.items() if file not in known}
        if not missing:
            break
        said = await _said_of(gateway, job, tool, workspace)
        known |= {file: said[place] for file, place in missing.items() if place in said}
    return known


async def count_answers(gateway: Gateway) -> dict[str, int]:
    """How many answers of each pool are found by a search."""
    numbers: dict[str, int] = {}
    for job in await _ended_jobs(gateway, None):
        numbers[job.pool] = numbers.get(job.pool, 0) + 1
    return numbers


async def _ended_jobs(gateway: Gateway, pool: Key | None) -> Sequence[Job]:
    jobs = await gateway.client.jobs.list(namespace=gateway.scope, mine=True)
    ended = [job for job in jobs if job.ended and job.pool and (pool is None or job.pool == str(pool))]
    return sorted(ended, key=lambda job: job.order, reverse=True)[:MOST_JOBS]


async def _answers(gateway: Gateway, pool: Key | None) -> list[Shape]:
    jobs = await _ended_jobs(gateway, pool)
    types = {
        str(each.key): POOL_TYPES[each.backend] for each in await gateway.client.pools.list(namespace=gateway.scope)
    }
    gate = asyncio.Semaphore(AT_ONCE)

    async def look(job: Job) -> Shape | None:
        async with gate:
            return await _answer_row(gateway, job, types.get(job.pool, ""))

    async with asyncio.TaskGroup() as group:
        looking = [group.create_task(look(job)) for job in jobs]
    return [row for task in looking if (row := task.result()) is not None]


async def _answer_row(gateway: Gateway, job: Job, pool_type: str) -> Shape | None:
    """What a job said; None: it said nothing, or is gone meanwhile."""
    jobs, worker = gateway.client.jobs, ""
    try:
        if command := _command(job):
            answer = await jobs.task(job, COMMAND_TASK)
            worker = worker_id(answer.worker)
            content = f"$ {' '.join(command)}\n{answer.stdout}{answer.stderr}"
        else:
            content = await read_text(jobs, job)
    except NotFound:
        return None
    metadata = {
        "pool_id": job.pool,
        "pool_type": pool_type,
        "worker_id": worker,
        "task_id": str(job.key),
        "timestamp": ended_at(job).isoformat(),
    }
    return {"content": content, "metadata": metadata}


def _note_row(note: Note) -> Shape:
    text = note.value if isinstance(note.value, str) else json.dumps(note.value, ensure_ascii=False)
    empty = dict.fromkeys(("pool_id", "pool_type", "worker_id", "task_id"), "")
    when = datetime.fromtimestamp(note.stored_at, UTC).isoformat()
    metadata = {**empty, "timestamp": when, "namespace": note.namespace, "key": note.key}
    return {"content": f"{note.key}: {text}", "metadata": metadata}


async def _said_of(gateway: Gateway, job: Job, tool: str, workspace: str) -> dict[str, Shape]:
    """What one job says of files, by their place."""
    jobs, when = gateway.client.jobs, ended_at(job).timestamp()
    try:
        if command := _command(job):
            if os.path.basename(command[0]) != tool:
                return {}
            code = (await jobs.task(job, COMMAND_TASK)).exit_code
            if code is None:
                return {}  # it did not run to its end
            row = _file_row(tool, when, passed=code == 0, findings=0 if code == 0 else None)
            return {_place(workspace, each): row for each in command[1:] if not each.startswith("-")}
        if tool not in (job.obj["spec"].get("scan") or {}).get("tools", ()):
            return {}
        answers = await jobs.report(job)
    except NotFound:
        return {}
    root = (job.obj["spec"].get("source") or {}).get("path") or workspace
    numbers: dict[str, int] = {}
    for finding in (each for report in answers.reports if report.tool == tool for each in report.findings):
        place = _place(root, finding.path)
        numbers[place] = numbers.get(place, 0) + 1
    return {place: _file_row(tool, when, passed=False, findings=number) for place, number in numbers.items()}


def _file_row(tool: str, when: float, *, passed: bool, findings: int | None) -> Shape:
    return {"status": "passed" if passed else "failed", "timestamp": when, "tool": tool, "findings": findings}


def _command(job: Job) -> Sequence[str]:
    """The argv of a job of one command."""
    tasks: list[dict[str, Any]] = job.obj["spec"].get("tasks") or []
    return tasks[0].get("command") or () if len(tasks) == 1 and tasks[0].get("id") == COMMAND_TASK else ()


def _place(root: str, file: str) -> str:
    return os.path.normpath(os.path.join(root, file))


def _cut(content: str, task: str) -> str:
    content = storable(content)
    if len(content) <= MAX_CONTENT:
        return content
    more = f"; task_output(task_id={task!r}) has it" if task else ""
    return f"{content[:MAX_CONTENT]}\n[{len(content) - MAX_CONTENT} characters are left out{more}]"
