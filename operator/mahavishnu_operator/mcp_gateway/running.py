"""Running one command as a ScanJob, for the tools that wait for it and for those that do not.

What must stay true: a job that can never begin is answered at once and cancelled, not waited for; a caller that goes
away takes its job with it, unless it was detached; output is the process's own, cut only where it is said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from fastmcp import Context

from mahavishnu_operator.api.answers import TaskAnswer
from mahavishnu_operator.api.reasons import Label, Reason
from mahavishnu_operator.client import Job, Pool, command_spec, new_name
from mahavishnu_operator.client.specs import COMMAND_TASK, ROUNDING_SECONDS
from mahavishnu_operator.resources.protocol import Key, Obj
from mahavishnu_operator.support.errors import InvalidInput, NotFound

from .answering import Telling
from .commands import argv_of, is_command
from .gateway import Gateway
from .shapes import Shape, executed
from .worker_types import AI_TYPES, NO_AI, asked_type

INLINE_BYTES = 256 * 1024  # of each stream in an answer
PAGE_BYTES = 65_536
CANCEL_SECONDS = 5.0  # how long a command that was stopped may take to end
NEVER = (  # what a blocking call does not wait for
    Reason.NO_POOL_MATCHES.value,
    Reason.POOL_NOT_FOUND.value,
    Reason.POOL_NOT_ACCEPTED.value,
    Reason.WORKER_NOT_FOUND.value,
)


def command_of(prompt: str | None, pool: Pool | None) -> tuple[str, ...]:
    """The command in a prompt for that pool. InvalidInput: there is none, or it is for a model."""
    if prompt is None:
        raise InvalidInput("prompt is missing", hint="write `Execute: <program> <arguments>`")
    if pool is not None and asked_type(pool.obj) in AI_TYPES and not is_command(prompt):
        raise InvalidInput(f"pool {pool.key} was asked for as {asked_type(pool.obj)}", hint=NO_AI)
    return argv_of(prompt)


def caller_notes(caller_kind: str | None, parent_session_id: str | None) -> dict[str, str]:
    """Who says to have asked, as annotations."""
    notes = {Label.CALLER_KIND.value: caller_kind, Label.PARENT_SESSION.value: parent_session_id}
    return {name: value for name, value in notes.items() if value}


def spec_of_command(
    gateway: Gateway, argv: tuple[str, ...], *, pool: Pool | None, routing: Obj | None, timeout: float, **more: Any
) -> Obj:
    """The ScanJob of one command; local workers run it in the workspace."""
    backend = pool.backend if pool is not None else gateway.client.default_backend
    path = str(gateway.options.workspace) if backend == "local-process" else None
    where = pool.key if pool is not None else None
    return command_spec(argv, pool=where, routing=routing, path=path, timeout=timeout, **more)


async def run_command(
    gateway: Gateway,
    ctx: Context,
    spec: Obj,
    *,
    namespace: str,
    timeout: float,
    notes: Mapping[str, str],
    labels: Mapping[str, str] | None = None,
) -> Shape:
    """Run it and wait for its end."""
    jobs, telling, stuck = gateway.client.jobs, Telling(ctx), asyncio.Event()

    async def told(obj: Obj) -> None:
        if Job.of(obj).reason in NEVER:
            stuck.set()
        await telling.of_job(obj)

    submitting = asyncio.create_task(
        jobs.submit(spec, name=new_name("run"), namespace=namespace, labels=labels, annotations=notes)
    )
    try:
        job = await asyncio.shield(submitting)
    except asyncio.CancelledError:
        gateway.abandon(submitting)
        raise
    waiting = asyncio.create_task(jobs.wait(job, timeout=timeout + ROUNDING_SECONDS, told=told))
    hopeless = asyncio.create_task(stuck.wait())
    try:
        await asyncio.wait({waiting, hopeless}, return_when=asyncio.FIRST_COMPLETED)
        now = waiting.result() if waiting.done() else await jobs.get(job.key)
        if now.ended:
            return await outcome(gateway, now)
        await jobs.cancel(job.key)
        if not waiting.done():  # no worker will ever have it: what the job said is the answer
            return {**executed(now, None), "status": "failed"}
        ended = await jobs.wait(job, timeout=CANCEL_SECONDS)
        return {**(await outcome(gateway, ended)), "status": "timeout", "reason": Reason.TIMED_OUT.value}
    except asyncio.CancelledError:
        gateway.abandon(submitting)
        raise
    finally:
        waiting.cancel()
        hopeless.cancel()


async def outcome(gateway: Gateway, job: Job) -> Shape:
    """What a command's job that has ended came to."""
    jobs = gateway.client.jobs
    try:
        answer: TaskAnswer | None = await jobs.task(job, COMMAND_TASK)
    except NotFound:
        answer = None  # it was refused before it had tasks
    if answer is None:
        return executed(job, None)
    stdout, left_out = await _whole(gateway, job, answer, "stdout")
    stderr, left_out_too = await _whole(gateway, job, answer, "stderr")
    shape = executed(job, answer, stdout=stdout, stderr=stderr)
    if left_out or left_out_too:
        shape |= {
            "output_bytes_left_out": left_out,
            "stderr_bytes_left_out": left_out_too,
            "rest": f"task_output(task_id={str(job.key)!r}, offset={INLINE_BYTES})",
        }
    return shape


async def _whole(gateway: Gateway, job: Job, answer: TaskAnswer, stream: str) -> tuple[str, int]:
    """A stream from its beginning up to the limit of an answer, and how many bytes of it are left out."""
    tail, length = (answer.stdout, answer.stdout_bytes) if stream == "stdout" else (answer.stderr, answer.stderr_bytes)
    if length <= len(tail.encode("utf-8", "surrogatepass")):
        return tail, 0
    data = b""
    while len(data) < INLINE_BYTES:
        page = await gateway.client.jobs.output(
            job, COMMAND_TASK, stream=stream, offset=len(data), limit=min(PAGE_BYTES, INLINE_BYTES - len(data))
        )
        if not page:
            break
        data += page
    return data.decode("utf-8", "replace"), max(0, length - len(data))


async def read_output(gateway: Gateway, key: Key, *, stream: str, offset: int, limit: int) -> tuple[str, int]:
    """A page of what a command wrote, and where the next one begins."""
    job = await gateway.client.jobs.get(key)
    data = await gateway.client.jobs.output(job, COMMAND_TASK, stream=stream, offset=offset, limit=limit)
    return data.decode("utf-8", "replace"), offset + len(data)
