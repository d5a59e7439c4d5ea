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
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mahavishnu_operator.api.wire import MAX_BLOB_BYTES, CommandTask, PlanTask, ScanTask

from . import descendants
from .commands import run_command
from .confining import Confinement
from .messages import Blob, Cancel, Done, Need, Output, Piece, Reply, Start, frame, read_request
from .outputs import OutputBuffer, StreamName
from .scratch import make_scratch, remove_scratch, unlock_parents
from .supervising import clear_descendants

if TYPE_CHECKING:
    from .sources import Preparing

MAX_FILE_BYTES = 4 * 1024**3  # a file larger than this is a tool filling the disk
FORWARD_SECONDS = 0.1  # how long output is collected before it goes to the agent
BROKEN = 70  # exit code: the runner cannot go on and is to be replaced (sysexits' EX_SOFTWARE)


def main() -> None:
    """Serve requests on stdin until it closes. Arguments: folders that tools share, which are closed to them."""
    os.setsid()  # a Ctrl-C at a terminal is the agent's to handle
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # handled, not ignored: a tool would inherit the ignoring
    descendants.become_subreaper()
    _offer_to_the_oom_killer()  # what is hidden belongs to root, and this file with it
    descendants.hide_memory()  # our pipes too: a tool must not answer in our name
    descendants.give_up_new_privileges()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    most = MAX_FILE_BYTES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILE_BYTES)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    asyncio.run(_serve(Confinement(tuple(sys.argv[1:])) if sys.argv[1:] else None))


def _offer_to_the_oom_killer() -> None:
    """When memory runs out: rather us and the tool than the agent. A Pod may have set more, which cannot be lowered."""
    adjustment = Path("/proc/self/oom_score_adj")
    adjustment.write_text(str(max(500, int(adjustment.read_text()))))


async def _serve(confinement: Confinement | None) -> None:
    """Read requests while a task runs, so that it can be cancelled; the end of the pipe ends everything."""
    reader, writer = await _open_pipes()
    task: _Task | None = None
    while (request := await read_request(reader)) is not None:
        match request:
            case Start():
                if task is not None:
                    await task.running
                task = _Task(request, writer, confinement)
            case Piece():
                if task is not None:
                    task.take(request)
            case Cancel():
                if task is not None:
                    task.cancel()
    descendants.end_all()  # the agent has gone: nobody waits for an answer
    if task is not None:
        remove_scratch(task.scratch)
    os._exit(0)


class _Task:
    """One task from its start to its answer."""

    def __init__(self, start: Start, writer: asyncio.StreamWriter, confinement: Confinement | None) -> None:
        loop = asyncio.get_running_loop()
        self.scratch = Path(start.scratch)
        self._start, self._writer, self._loop, self._confinement = start, writer, loop, confinement
        self._cancel: asyncio.Future[None] = loop.create_future()
        self._blobs: list[bytes] = []
        self._output = OutputBuffer(limit_bytes=MAX_BLOB_BYTES)
        self._forwarding: asyncio.TimerHandle | None = None
        self._piece: asyncio.Future[Piece] | None = None
        self.running = asyncio.create_task(self._run_or_exit())

    def cancel(self) -> None:
        """Stop it; the answer comes all the same."""
        if not self._cancel.done():
            self._cancel.set_result(None)

    def take(self, piece: Piece) -> None:
        """A piece of the archive that was asked for."""
        if self._piece is not None and not self._piece.done():
            self._piece.set_result(piece)

    async def _next_piece(self) -> Piece:
        self._piece = self._loop.create_future()
        self._reply(Need())
        return await self._piece

    async def _run_or_exit(self) -> None:
        """A runner that cannot clean up is no runner: the agent sees it end, and kills what is left."""
        try:
            last = await self._run()
        except Exception:  # noqa: BLE001 (printed, and this process ends with it)
            sys.excepthook(*sys.exc_info())
            os._exit(BROKEN)
        if last:
            await self._writer.drain()  # with no high-water mark: until all is written
            os._exit(0)

    async def _run(self) -> bool:
        begun = time.monotonic()
        try:
            make_scratch(self.scratch)
            done = await self._execute()
        except Exception as error:  # noqa: BLE001 (a defect of ours or of the machine ends this task, not the worker)
            words = f"the runner could not do this task: {type(error).__name__}: {error}"
            done = Done("failed", "RunnerError", words, duration_seconds=time.monotonic() - begun)
        await clear_descendants()
        await self._remove_scratch()
        self._forward()
        for blob in self._blobs:
            self._reply(Blob(blob))
        self._reply(_bounded(done))
        return done.last

    async def _execute(self) -> Done:
        seconds, cancel = self._start.timeout_seconds, self._cancel
        match self._start.spec:
            case CommandTask() as spec:
                return await run_command(
                    spec,
                    timeout_seconds=seconds,
                    scratch=self.scratch,
                    cancel=cancel,
                    on_output=self._collect,
                    confinement=self._confinement,
                )
            case PlanTask() as spec:
                from .scans import run_plan  # the scanners' modules load when the first scan comes

                return await run_plan(
                    spec, put=self._put, timeout_seconds=seconds, cancel=cancel, preparing=self._preparing(spec)
                )
            case ScanTask() as spec:
                from .scans import run_scan

                return await run_scan(
                    spec,
                    files=self._start.files,
                    timeout_seconds=seconds,
                    scratch=self.scratch,
                    cancel=cancel,
                    confinement=self._confinement,
                    preparing=self._preparing(spec),
                )

    def _preparing(self, spec: PlanTask | ScanTask) -> Preparing | None:
        if spec.source is None:
            return None
        from .sources import Preparing

        return Preparing(self._start, cancel=self._cancel, next_piece=self._next_piece, tell=self._reply)

    async def _remove_scratch(self) -> None:
        with suppress(OSError):
            self.scratch.rmdir()  # most are empty: no thread for those
            return
        with suppress(OSError):
            unlock_parents(self.scratch)  # a tool may have locked them
        if not await asyncio.to_thread(remove_scratch, self.scratch):
            print(f"the scratch folder {self.scratch} could not be removed", file=sys.stderr)

    def _put(self, data: bytes) -> str:
        self._blobs.append(data)
        return hashlib.sha256(data).hexdigest()

    def _collect(self, stream: StreamName, offset: int, data: bytes) -> None:
        self._output.add(stream, offset, data)
        if self._forwarding is None:
            self._forwarding = self._loop.call_later(FORWARD_SECONDS, self._forward)

    def _forward(self) -> None:
        if self._forwarding is not None:
            self._forwarding.cancel()
            self._forwarding = None
        for piece in self._output.take(MAX_BLOB_BYTES):
            self._reply(Output(piece.stream, piece.offset, bytes(piece.data)))

    def _reply(self, reply: Reply) -> None:
        self._writer.write(frame(reply))


def _bounded(done: Done) -> Done:
    """The answer, or in place of one that nobody would take: that it was too large."""
    if len(done.payload) <= MAX_BLOB_BYTES:
        return done
    words = f"the answer has {len(done.payload)} bytes; at most {MAX_BLOB_BYTES} are taken: use smaller bins of files"
    return msgspec.structs.replace(done, status="refused", reason="ResultTooLarge", message=words, payload="")


async def _open_pipes() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The two pipes as streams; stdout's descriptor moves away so that a stray print cannot forge a frame."""
    loop = asyncio.get_running_loop()
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, out)
    transport.set_write_buffer_limits(high=0)
    return reader, asyncio.StreamWriter(transport, protocol, None, loop)


if __name__ == "__main__":
    main()
