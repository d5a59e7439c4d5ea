"""The runner: a process that starts tools for one slot of a worker, one after another (docs/adr/0006).

The pressure: a tool is hostile code, so the process beside it holds no token and answers with values of known
types only. It is a child subreaper: whatever a tool leaves behind becomes its child and is killed. What must
stay true: a task ends with no descendant and no scratch folder left; when the agent's pipe closes, so does all.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import signal
import sys
import time
from pathlib import Path

from mahavishnu_operator.api.wire import CommandTask, PlanTask, ScanTask

from . import descendants
from .commands import run_command
from .messages import Blob, Cancel, Done, Output, Reply, Start, read_request, send
from .supervising import StreamName
from .surroundings import remove_scratch

MAX_FILE_BYTES = 4 * 1024**3  # a file larger than this is a tool filling the disk


def main() -> None:
    """Serve requests on stdin until it closes."""
    os.setsid()  # a Ctrl-C at a terminal is the agent's to handle
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # handled, not ignored: a tool would inherit the ignoring
    descendants.become_subreaper()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    most = MAX_FILE_BYTES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILE_BYTES)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    asyncio.run(_Runner().serve())


class _Runner:
    """Reads requests while a task runs, so that it can be cancelled."""

    def __init__(self) -> None:
        self._cancel = asyncio.Event()
        self._lock = asyncio.Lock()  # replies are written whole

    async def serve(self) -> None:
        reader, self._writer = await _open_pipes()
        running: asyncio.Task[None] | None = None
        while (request := await read_request(reader)) is not None:
            match request:
                case Start():
                    if running is not None:
                        await running
                    self._cancel.clear()
                    running = asyncio.create_task(self._run(request))
                case Cancel():
                    self._cancel.set()
        descendants.end_all()  # the agent has gone: nobody waits for an answer
        os._exit(0)

    async def _reply(self, reply: Reply) -> None:
        async with self._lock:
            try:
                await send(self._writer, reply)
            except ConnectionError:
                descendants.end_all()
                os._exit(0)

    async def _run(self, start: Start) -> None:
        scratch = Path(start.scratch)
        blobs: list[bytes] = []
        begun = time.monotonic()
        try:
            await asyncio.to_thread(scratch.mkdir, mode=0o700, parents=True)
            done = await self._execute(start, scratch, blobs)
        except Exception as error:  # noqa: BLE001 (a defect of ours or of the machine ends this task, not the worker)
            words = f"the runner could not do this task: {type(error).__name__}: {error}"
            done = Done("failed", "RunnerError", words, duration_seconds=time.monotonic() - begun)
        await asyncio.to_thread(descendants.end_all)
        await asyncio.to_thread(remove_scratch, scratch)
        for blob in blobs:
            await self._reply(Blob(blob))
        await self._reply(done)

    async def _execute(self, start: Start, scratch: Path, blobs: list[bytes]) -> Done:
        match start.spec:
            case CommandTask() as spec:
                return await run_command(
                    spec,
                    timeout_seconds=start.timeout_seconds,
                    scratch=scratch,
                    cancel=self._cancel,
                    on_output=self._forward,
                )
            case PlanTask() as spec:
                from .scans import run_plan  # the scanners' modules load when the first scan comes

                return await run_plan(spec, put=_Putter(blobs))
            case ScanTask() as spec:
                from .scans import run_scan

                return await run_scan(
                    spec,
                    files=start.files,
                    timeout_seconds=start.timeout_seconds,
                    scratch=scratch,
                    cancel=self._cancel,
                )

    async def _forward(self, stream: StreamName, offset: int, data: bytes) -> None:
        await self._reply(Output(stream, offset, data))


class _Putter:
    """Collects blobs and answers their digests."""

    def __init__(self, blobs: list[bytes]) -> None:
        self._blobs = blobs

    def __call__(self, data: bytes) -> str:
        self._blobs.append(data)
        return hashlib.sha256(data).hexdigest()


async def _open_pipes() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The two pipes as streams; stdout's descriptor moves away so that a stray print cannot forge a frame."""
    loop = asyncio.get_running_loop()
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, out)
    return reader, asyncio.StreamWriter(transport, protocol, None, loop)


if __name__ == "__main__":
    main()
