"""logs: what a task of a ScanJob wrote, from the results that the server keeps."""

from __future__ import annotations

import asyncio
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from mahavishnu_operator.resources.protocol import SCAN_JOB, Key
from mahavishnu_operator.support.errors import NotFound

from .server import NamespaceOption, ServerOption, connect

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
    server: ServerOption = None,
) -> None:
    """Print what the tasks of a ScanJob wrote."""

    async def run() -> None:
        async with connect(server) as resources:
            uid = (await resources.get(SCAN_JOB, Key(namespace, job)))["metadata"]["uid"]
            rows = await resources.get_json(f"/results/v1/jobs/{uid}/tasks")
            wanted = [row["id"] for row in rows if task in (None, row["id"])]
            if task and not wanted:
                known = ", ".join(row["id"] for row in rows[:20]) or "none yet"
                raise NotFound(f"scanjob {namespace}/{job} has no task {task!r}", hint=f"its tasks: {known}")
            for name in wanted:
                if len(wanted) > 1:
                    print(f"==> {name} <==", flush=True)
                await _copy(resources, f"/results/v1/jobs/{uid}/tasks/{name}/output?stream={stream.value}")

    asyncio.run(run())


async def _copy(resources: KubernetesResources, path: str) -> None:
    """Copy a stream to stdout page by page, as bytes: it is the tool's own output."""
    offset = 0
    while page := await resources.get_bytes(f"{path}&offset={offset}&limit={PAGE_BYTES}"):
        sys.stdout.buffer.write(page)
        offset += len(page)
    sys.stdout.buffer.flush()
