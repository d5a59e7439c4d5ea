"""logs: what a task of a ScanJob wrote, from the results that the server keeps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from mahavishnu_operator.resources.protocol import SCAN_JOB, Key
from mahavishnu_operator.support.errors import NotFound

from .output import OutputFormat, Outputs, dump, say
from .placing import OutputOption
from .server import NamespaceOption, ServerOption, connect, goes_where_kubectl_goes

if TYPE_CHECKING:
    from mahavishnu_operator.resources.kubernetes import KubernetesResources

PAGE_BYTES = 65_536


class Stream(StrEnum):
    """Which output."""

    STDOUT = "stdout"
    STDERR = "stderr"


def logs(
    job: Annotated[str, typer.Argument(metavar="SCANJOB")],
    task: Annotated[
        str | None, typer.Option("--task", "-t", help="One task; without it, all that have output.")
    ] = None,
    stream: Annotated[Stream, typer.Option("--stream", help="Which of the two streams.")] = Stream.STDOUT,
    namespace: NamespaceOption = "default",
    output: OutputOption = OutputFormat.TABLE,
    server: ServerOption = None,
) -> None:
    """Print what the tasks of a ScanJob wrote."""
    if goes_where_kubectl_goes(server):  # an API server has no results: they come from the dispatcher behind it
        from .jobs import show_logs
        from .placing import Where

        place = Where(namespace, None, None, None, None, None)
        asyncio.run(show_logs(place, job, task, stream, output))
        return

    async def run() -> None:
        async with connect(server) as resources:
            uid = (await resources.get(SCAN_JOB, Key(namespace, job)))["metadata"]["uid"]
            try:
                rows = await resources.get_json(f"/results/v1/jobs/{uid}/tasks")
            except NotFound:  # its words name the uid, which no person knows
                raise NotFound(
                    f"scanjob {namespace}/{job} has no tasks yet",
                    hint=f"why: mahavishnu describe sj {job} -n {namespace}",
                ) from None
            wanted = [row["id"] for row in rows if task in (None, row["id"])]
            if task and not wanted:
                known = ", ".join(row["id"] for row in rows[:20]) or "none yet"
                raise NotFound(f"scanjob {namespace}/{job} has no task {task!r}", hint=f"its tasks: {known}")
            paths = {name: f"/results/v1/jobs/{uid}/tasks/{name}/output?stream={stream.value}" for name in wanted}
            if output is not OutputFormat.TABLE:
                texts = [(name, [page async for page in _pages(resources, path)]) for name, path in paths.items()]
                print(dump([{"task": name, stream.value: as_text(pages)} for name, pages in texts], output))
                return
            wrote, outputs = False, Outputs()
            for name, path in paths.items():
                wrote |= await _copy(resources, path, outputs, heading=name if len(wanted) > 1 else "")
            if not wrote:
                say(
                    f"no task of scanjob {namespace}/{job} wrote to {stream.value}"
                    if task is None
                    else f"task {task} of scanjob {namespace}/{job} wrote nothing to {stream.value}"
                )

    asyncio.run(run())


async def _copy(resources: KubernetesResources, path: str, outputs: Outputs, *, heading: str) -> bool:
    """Copy a stream page by page. False: it is empty."""
    wrote = False
    async for page in _pages(resources, path):
        outputs.write(page, heading="" if wrote else heading)
        wrote = True
    return wrote


async def _pages(resources: KubernetesResources, path: str) -> AsyncIterator[bytes]:
    offset = 0
    while page := await resources.get_bytes(f"{path}&offset={offset}&limit={PAGE_BYTES}"):
        yield page
        offset += len(page)


def as_text(pages: Iterable[bytes]) -> str:
    """What a task wrote, for documents that hold text alone."""
    return b"".join(pages).decode("utf-8", "replace")
