"""jobs: ScanJobs from the shell, by the ids that the gateway's tools answer (namespace/name, or a bare name)."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mahavishnu_operator.support.errors import NotFound

from .exits import ExitCode
from .logs import PAGE_BYTES, Stream, as_text
from .output import OutputFormat, Outputs, age, as_page, as_table, say, show
from .placing import AllNamespacesOption, MineOption, OutputOption, Where, command, say_there_are_none
from .several import do_each

if TYPE_CHECKING:
    from mahavishnu_operator.api.answers import TaskRow
    from mahavishnu_operator.client import Client, Job
    from mahavishnu_operator.resources.protocol import Key

app = typer.Typer(help="ScanJobs: list, show, wait, cancel, logs, report.", no_args_is_help=True)

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="namespace/name, or a bare name.")]
JobsArgument = Annotated[list[str], typer.Argument(metavar="JOB...", help="namespace/name, or bare names.")]


@command(app, "list")
async def list_jobs(
    where: Where,
    all_namespaces: AllNamespacesOption = False,
    mine: MineOption = False,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """List jobs, oldest first."""
    async with where.client() as client:
        jobs = await client.jobs.list(namespace=None if all_namespaces else "", mine=mine)
        space = client.namespace
    if not jobs and output is OutputFormat.TABLE:
        say_there_are_none("jobs", space, everywhere=all_namespaces)
        return
    print_jobs(sorted(jobs, key=lambda job: job.order), output)


@command(app, "show")
async def show_job(where: Where, job: JobArgument, output: OutputOption = OutputFormat.TABLE) -> None:
    """Show one job with its tasks."""
    import msgspec

    from mahavishnu_operator.mcp_gateway.shapes import job_row

    async with where.client() as client:
        found = await client.jobs.get(_key(client, job))
        tasks = await _tasks(client, found)
    row = job_row(found)
    value = {**row, "created_by": found.created_by, "seconds": found.seconds, "tasks": msgspec.to_builtins(tasks)}
    facts = [
        ("Job", row["job_id"]),
        ("Status", f"{row['status']}, verdict {row['verdict']}"),
        ("Why", f"{found.reason}: {found.message}" if found.message else found.reason),
        ("Pool", row["pool_id"] or "not chosen yet"),
        ("Findings", _findings(row)),
        ("Made by", found.created_by or "somebody else than a client"),
        ("Took", f"{found.seconds:.1f} s" if found.ended else "not ended"),
    ]
    headers = ["TASK", "STATE", "ATTEMPTS", "EXIT", "SECONDS", "WORKER", "MESSAGE"]
    lines = [
        [
            task.id,
            task.status or task.state,
            str(task.attempts),
            "-" if task.exit_code is None else str(task.exit_code),
            f"{task.duration_seconds:.1f}",
            task.worker or "-",
            task.message,
        ]
        for task in tasks
    ]
    show(value, output, f"{as_page(facts)}\n\n{as_table(headers, lines)}" if lines else as_page(facts))


@command(app, "wait", looks=True)
async def wait_for_jobs(
    where: Where,
    job: JobsArgument,
    timeout: Annotated[
        float, typer.Option("--timeout", "-T", min=0.0, metavar="SECONDS", help="How long for all of them.")
    ] = 3600.0,
    output: OutputOption = OutputFormat.TABLE,
) -> ExitCode:
    """Wait until jobs have ended; they go on when you stop waiting.

    Exit codes are those of `scan`: 0 all passed; 1 one has failed (findings at or over its limit); 3 one is incomplete,
    refused or cancelled, or had not ended in time.
    """
    from mahavishnu_operator.api.reasons import Verdict

    from .following import unless_interrupted
    from .outcome import exit_code, exit_code_of_signal, listen_for_signals

    async with where.client() as client:
        work = _wait(client, [_key(client, each) for each in job], timeout=timeout)
        ended, interrupt = await unless_interrupted(work, listen_for_signals())
    if ended is None:
        say("interrupted: what was waited for goes on")
        return exit_code_of_signal(interrupt or signal.SIGINT)
    print_jobs(ended, output)
    for each in ended:
        if not each.ended:
            say(f"{each.key} has not ended after {timeout:g} s: {each.message}")
    codes = {exit_code(Verdict(each.verdict)) if each.ended else ExitCode.INCOMPLETE for each in ended}
    return ExitCode.FINDINGS if ExitCode.FINDINGS in codes else max(codes)


@command(app, "cancel")
async def cancel_jobs(where: Where, job: JobsArgument, output: OutputOption = OutputFormat.TABLE) -> ExitCode:
    """Cancel jobs; what is done is kept. One that has ended stays as it is. Exit code 1: some could not be."""
    async with where.client() as client:
        asked, refused = await do_each([_key(client, each) for each in job], client.jobs.cancel)
    if asked or output is not OutputFormat.TABLE:
        print_jobs(list(asked.values()), output)
    for error in refused.values():
        say(f"not cancelled: {error}")
    return ExitCode.FINDINGS if refused else ExitCode.OK


@command(app, "logs")
async def show_logs(
    where: Where,
    job: JobArgument,
    task: Annotated[
        str | None, typer.Option("--task", "-t", help="One task; without it, all that have output.")
    ] = None,
    stream: Annotated[Stream, typer.Option("--stream", help="Which of the two streams.")] = Stream.STDOUT,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Print what the tasks of a job wrote, as they wrote it, wherever it runs."""
    async with where.client() as client:
        found = await client.jobs.get(_key(client, job))
        rows = await _tasks(client, found)
        wanted = [row.id for row in rows if task in (None, row.id)]
        if task is not None and not wanted:
            known = ", ".join(row.id for row in rows[:20]) or "none yet"
            raise NotFound(f"job {found.key} has no task {task!r}", hint=f"its tasks: {known}")
        if output is not OutputFormat.TABLE:
            texts = [(each, [page async for page in _pages(client, found, each, stream.value)]) for each in wanted]
            value = [{"task": each, stream.value: as_text(pages)} for each, pages in texts]
            show(value, output, "")
            return
        outputs, named = Outputs(), len(wanted) > 1
        wrote = [await _copy(client, found, each, stream.value, outputs, named=named) for each in wanted]
    if not any(wrote):
        say(f"no task of job {found.key} wrote to {stream.value}" if rows else f"job {found.key} has no tasks yet")


@command(app, "report", looks=True)
async def show_report(
    where: Where,
    job: JobArgument,
    sarif: Annotated[
        Path | None, typer.Option("--sarif", metavar="FILE", help="Write the report as SARIF 2.1.0.")
    ] = None,
    output: OutputOption = OutputFormat.TABLE,
) -> ExitCode:
    """Show the report of a scan that has ended, with the exit codes of `scan`."""
    from mahavishnu_operator.client import parse_id

    from . import report

    way = await where.way()
    key = parse_id(job, namespace=where.namespace or way.connection.namespace or "default", what="job")
    return await report.show_report(way, key.namespace, key.name, sarif=sarif, form=output)


def print_jobs(jobs: Sequence[Job], output: OutputFormat) -> None:
    """Rows of jobs; for programs those that scan_list answers."""
    from mahavishnu_operator.mcp_gateway.shapes import job_row

    rows = [job_row(job) for job in jobs]
    headers = ["JOB", "STATUS", "VERDICT", "POOL", "DONE", "FINDINGS", "AGE"]
    lines = [
        [
            row["job_id"],
            row["status"],
            row["verdict"],
            row["pool_id"] or "-",
            f"{row['tasks_done']}/{row['tasks_total']}",
            "-" if row["findings"] is None else str(row["findings"]),
            age(str(job.obj["metadata"].get("creationTimestamp", ""))),
        ]
        for row, job in zip(rows, jobs, strict=True)
    ]
    show(rows, output, as_table(headers, lines))


async def _wait(client: Client, keys: Sequence[Key], *, timeout: float) -> list[Job]:
    """Each at its end, or as it stands when the time for all is over."""
    import asyncio

    from .following import Telling
    from .progress import make_progress

    loop = asyncio.get_running_loop()
    deadline, ended = loop.time() + timeout, []
    for key in keys:
        job = await client.jobs.get(key)
        with make_progress(f"waiting for job {key}") as progress:
            telling = Telling(progress)
            telling(job.obj)

            async def told(obj: Any, telling: Telling = telling) -> None:
                telling(obj)

            ended.append(await client.jobs.wait(job, timeout=max(0.0, deadline - loop.time()), told=told))
    return ended


async def _tasks(client: Client, job: Job) -> Sequence[TaskRow]:
    """Its tasks; none before it was planned, and where it was refused."""
    try:
        return await client.jobs.tasks(job)
    except NotFound:
        return ()


async def _copy(client: Client, job: Job, task: str, stream: str, outputs: Outputs, *, named: bool) -> bool:
    """Copy a stream page by page. False: it is empty."""
    wrote = False
    async for page in _pages(client, job, task, stream):
        outputs.write(page, heading=task if named and not wrote else "")
        wrote = True
    return wrote


async def _pages(client: Client, job: Job, task: str, stream: str) -> AsyncIterator[bytes]:
    offset = 0
    while page := await client.jobs.output(job, task, stream=stream, offset=offset, limit=PAGE_BYTES):
        yield page
        offset += len(page)


def _key(client: Client, text: str) -> Key:
    from mahavishnu_operator.client import parse_id

    return parse_id(text, namespace=client.namespace, what="job")


def _findings(row: dict[str, Any]) -> str:
    if row["findings"] is None:
        return "-"
    levels = ", ".join(f"{number} {level}" for level, number in sorted(row["findings_by_level"].items()) if number)
    return f"{row['findings']} ({levels})" if levels else str(row["findings"])
