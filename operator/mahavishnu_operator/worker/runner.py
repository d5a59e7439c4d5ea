"""The runner: a process that starts tools for one slot of a worker, one after another (docs/adr/0006, 0018).

The pressure: a tool is hostile code, so the process beside it holds no token and answers with values of known
types only. It is a child subreaper: whatever a tool leaves behind becomes its child and is killed. What must
stay true: a task ends with no descendant and no scratch folder left, and is answered before the next one begins; when
the agent's pipe closes, so does all.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mahavishnu_operator.api.wire import MAX_BLOB_BYTES, CommandTask, PlanTask, ScanTask

from . import descendants
from .commands import run_command
from .confining import Confinement
from .messages import (
    Blob,
    Cancel,
    Done,
    Frames,
    Need,
    Output,
    Piece,
    Reply,
    Start,
    Withdraw,
    Withdrawn,
    frame,
)
from .outputs import OutputBuffer, StreamName
from .scratch import TaskFolder, unlock_parents
from .supervising import clear_descendants

if TYPE_CHECKING:
    from .sources import Preparing

MAX_FILE_BYTES = 4 * 1024**3  # a file larger than this is a tool filling the disk
TURN_SECONDS = 0.02  # of commands that are over at once, before requests are looked for
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
    os.umask(0o077)  # a tool's too
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
    requests, writer = await _open_pipes()
    line = _Line(writer, confinement)
    async with asyncio.TaskGroup() as group:
        group.create_task(line.work())
        await _obey(requests, line)


async def _obey(requests: Frames, line: _Line) -> None:
    while (request := await requests.request()) is not None:
        match request:
            case Start():
                line.add(request)
            case Cancel(number):
                line.cancel(number)
            case Withdraw():
                line.withdraw()
            case Piece():
                if line.running is not None:
                    line.running.take(request)
    descendants.end_all()  # the agent has gone: nobody waits for an answer
    line.folder.remove()
    os._exit(0)


class _Line:
    """What was asked for, in order: the first one runs, the others wait behind it."""

    def __init__(self, writer: asyncio.StreamWriter, confinement: Confinement | None) -> None:
        self.running: _Task | None = None
        self.folder = TaskFolder()
        self._writer, self._confinement, self._loop = writer, confinement, asyncio.get_running_loop()
        self._waiting: deque[tuple[Start, float]] = deque()
        self._cancelled: set[int] = set()  # of those that wait
        self._news = asyncio.Event()

    def add(self, start: Start) -> None:
        """Let it wait for its turn."""
        self._waiting.append((start, self._loop.time()))
        self._news.set()

    def cancel(self, number: int) -> None:
        """Stop it, or do not begin it; the answer comes all the same."""
        if self.running is not None and self.running.number == number:
            self.running.cancel()
        elif any(start.number == number for start, _ in self._waiting):
            self._cancelled.add(number)

    def withdraw(self) -> None:
        """Forget what was not begun."""
        count = len(self._waiting)
        self._waiting.clear()
        self._cancelled.clear()
        self._writer.write(frame(Withdrawn(count)))

    async def work(self) -> None:
        """Run one after another, for ever."""
        while True:
            if not self._waiting:
                self.folder.remove_empty()  # which was kept for one that was withdrawn or cancelled
                self._news.clear()
                await self._news.wait()
            turned = self._loop.time()
            while self._waiting:
                start, came_at = self._waiting[0]
                if self._loop.time() - came_at > start.good_seconds:
                    self.withdraw()  # the agent looks at its lease again, if it is there
                    break
                await self._run_first()
                if self._loop.time() - turned > TURN_SECONDS:
                    await asyncio.sleep(0)  # those that are over at once do not let requests be read
                    turned = self._loop.time()

    async def _run_first(self) -> None:
        start, _ = self._waiting.popleft()
        if start.number in self._cancelled:
            self._cancelled.discard(start.number)
            self._writer.write(frame(Done("cancelled", "Cancelled", "cancelled before it was started")))
            return
        scratch = start.scratch
        self.running = _Task(
            start,
            self._writer,
            self.folder,
            self._confinement,
            keeps_folder=lambda: self._confinement is None and self._next_scratch() == scratch,
        )
        await self.running.run_or_exit()
        self.running = None

    def _next_scratch(self) -> str:
        return self._waiting[0][0].scratch if self._waiting else ""


class _Task:
    """One task from its start to its answer."""

    def __init__(
        self,
        start: Start,
        writer: asyncio.StreamWriter,
        folder: TaskFolder,
        confinement: Confinement | None,
        *,
        keeps_folder: Callable[[], bool],
    ) -> None:
        self.number, self._folder, self._keeps_folder = start.number, folder, keeps_folder
        self._start, self._writer, self._confinement = start, writer, confinement
        self._loop = asyncio.get_running_loop()
        self._cancel: asyncio.Future[None] = self._loop.create_future()
        self._blobs: list[bytes] = []
        self._output = OutputBuffer(limit_bytes=MAX_BLOB_BYTES)
        self._forwarding: asyncio.TimerHandle | None = None
        self._piece: asyncio.Future[Piece] | None = None

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

    async def run_or_exit(self) -> None:
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
            done = await self._execute(self._folder.make(self._start.scratch))
        except Exception as error:  # noqa: BLE001 (a defect of ours or of the machine ends this task, not the worker)
            words = f"the runner could not do this task: {type(error).__name__}: {error}"
            done = Done("failed", "RunnerError", words, duration_seconds=time.monotonic() - begun)
        await clear_descendants()
        if not await self._clear_folder():
            print(f"the scratch folder {self._start.scratch} could not be removed", file=sys.stderr)
            done = msgspec.structs.replace(done, last=True)  # the next one here would find it
        self._forward()
        for blob in self._blobs:
            self._reply(Blob(blob))
        self._reply(_bounded(done))
        return done.last

    async def _execute(self, scratch: Path) -> Done:
        seconds, cancel = self._start.timeout_seconds, self._cancel
        match self._start.spec:
            case CommandTask() as spec:
                return await run_command(
                    spec,
                    timeout_seconds=seconds,
                    scratch=scratch,
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
                    scratch=scratch,
                    cancel=cancel,
                    confinement=self._confinement,
                    preparing=self._preparing(spec),
                )

    def _preparing(self, spec: PlanTask | ScanTask) -> Preparing | None:
        if spec.source is None:
            return None
        from .sources import Preparing

        return Preparing(self._start, cancel=self._cancel, next_piece=self._next_piece, tell=self._reply)

    async def _clear_folder(self) -> bool:
        """Whether nothing of the task is left on disk. Most have left nothing: no thread for those."""
        folder = self._folder
        if self._keeps_folder() and folder.is_untouched():
            return True
        if folder.remove_empty():
            return True
        if folder.path is not None:
            with suppress(OSError):
                unlock_parents(folder.path)  # a tool may have locked them
        return await asyncio.to_thread(folder.remove)

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


async def _open_pipes() -> tuple[Frames, asyncio.StreamWriter]:
    """The two pipes; stdout's descriptor moves away so that a stray print cannot forge a frame."""
    loop = asyncio.get_running_loop()
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, out)
    transport.set_write_buffer_limits(high=0)
    return Frames(0), asyncio.StreamWriter(transport, protocol, None, loop)


if __name__ == "__main__":
    main()
