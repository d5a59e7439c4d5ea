"""Running one command as a ScanJob, for the tools that wait for it and for those that do not.

What must stay true: a job that can never begin is answered at once and cancelled, not waited for; a caller that goes
away takes its job with it, unless it was detached; output is the process's own, cut only where it is said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from mahavishnu_operator.api.answers import TaskAnswer
from mahavishnu_operator.api.reasons import Label, Reason
from mahavishnu_operator.client import Job, Pool, command_spec, new_name
from mahavishnu_operator.client.following import Told
from mahavishnu_operator.client.specs import COMMAND_TASK, ROUNDING_SECONDS
from mahavishnu_operator.resources.protocol import Obj
from mahavishnu_operator.support.errors import InvalidInput, NotFound

from .commands import argv_of, is_command, refuse_files
from .gateway import Gateway
from .reading import INLINE_BYTES, read_stream
from .shapes import Shape, executed
from .worker_types import AI_TYPES, NO_AI, asked_type

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
    """The ScanJob of one command; local workers run it in the workspace. InvalidInput: as `folder_of_command`."""
    backend = pool.backend if pool is not None else gateway.client.default_backend
    where = pool.key if pool is not None else None
    path = folder_of_command(gateway, argv, backend=backend)
    return command_spec(argv, pool=where, routing=routing, path=path, timeout=timeout, **more)


def folder_of_command(gateway: Gateway, argv: tuple[str, ...], *, backend: str) -> str | None:
    """The workspace, where workers of that backend see it. InvalidInput: they do not, and the command names files."""
    if backend == "local-process":
        return str(gateway.options.workspace)
    refuse_files(argv)
    return None


async def run_command(
    gateway: Gateway,
    spec: Obj,
    *,
    namespace: str,
    timeout: float,
    told: Told | None,
    notes: Mapping[str, str],
    labels: Mapping[str, str] | None = None,
    inline: int = INLINE_BYTES,
) -> Shape:
    """Run it and wait for its end; of each stream `inline` bytes are answered at most."""
    jobs, stuck = gateway.client.jobs, asyncio.Event()

    async def hear(obj: Obj) -> None:
        job = Job.of(obj)
        if job.reason in NEVER:
            stuck.set()
        if told is not None and not job.ended:  # the answer is next: a notice before it makes a stream of an answer
            await told(obj)

    submitting = asyncio.create_task(
        jobs.submit(spec, name=new_name("run"), namespace=namespace, labels=labels, annotations=notes)
    )
    try:
        job = await asyncio.shield(submitting)
    except asyncio.CancelledError:
        gateway.abandon(submitting)
        raise
    waiting = asyncio.create_task(jobs.wait(job, timeout=timeout + ROUNDING_SECONDS, told=hear))
    hopeless = asyncio.create_task(stuck.wait())
    try:
        await asyncio.wait({waiting, hopeless}, return_when=asyncio.FIRST_COMPLETED)
        now = waiting.result() if waiting.done() else await jobs.get(job.key)
        if now.ended:
            return await outcome(gateway, now, inline=inline)
        await jobs.cancel(job.key)
        if not waiting.done():  # no worker will ever have it: what the job said is the answer
            return {**executed(now, None), "status": "failed"}
        ended = await jobs.wait(job, timeout=CANCEL_SECONDS)
        return {**(await outcome(gateway, ended, inline=inline)), "status": "timeout", "reason": Reason.TIMED_OUT.value}
    except asyncio.CancelledError:
        gateway.abandon(submitting)
        raise
    finally:
        waiting.cancel()
        hopeless.cancel()


async def outcome(gateway: Gateway, job: Job, *, since: int = 0, inline: int = INLINE_BYTES) -> Shape:
    """What a command's job that has ended came to; of each stream `inline` bytes at most, of stdout from `since` on."""
    try:
        answer: TaskAnswer | None = await gateway.client.jobs.task(job, COMMAND_TASK)
    except NotFound:
        answer = None  # it was refused before it had tasks
    if answer is None:
        return executed(job, None)
    stdout = await read_stream(gateway.client.jobs, job, answer, "stdout", since=since, inline=inline)
    stderr = await read_stream(gateway.client.jobs, job, answer, "stderr", since=0, inline=inline)
    shape = executed(job, answer, stdout=stdout.text, stderr=stderr.text)
    rest = [each.how_to_read(job.key) for each in (stdout, stderr) if each.left_out]
    if rest:
        left_out = {"output_bytes_left_out": stdout.left_out, "stderr_bytes_left_out": stderr.left_out}
        shape |= {**left_out, "rest": " and ".join(rest)}
    return shape
