"""A real runner process to talk to, and small real programs for it to run."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from mahavishnu_operator.api.wire import CommandTask, PlanTask, ScanTask
from mahavishnu_operator.worker.messages import (
    Blob,
    Cancel,
    Done,
    Frames,
    Output,
    Reply,
    Request,
    Start,
    Withdraw,
    frame,
)
from mahavishnu_operator.worker.runners import RUNNER

DEADLINE_SECONDS = 30.0


class Runner:
    """One runner; `run` waits for the task's end and keeps its output."""

    def __init__(self, process: asyncio.subprocess.Process, answers: Frames, folder: Path) -> None:
        self.process, self._answers, self._folder, self._count = process, answers, folder, 0
        self.output: list[Output] = []
        self.blobs: list[bytes] = []

    async def start(
        self, spec: CommandTask | PlanTask | ScanTask, *, timeout: float = 20.0, files: bytes = b""
    ) -> Path:
        self._count += 1
        scratch = self._folder / f"scratch-{self._count}"
        self._write(Start(spec, timeout, str(scratch), files, self._count))
        return scratch

    async def start_all(self, *specs: CommandTask, good: float = 600.0) -> Path:
        """Several in one write, for one folder, to be begun within `good` seconds; their numbers count from 1."""
        scratch = self._folder / "scratch"
        self._write(*(Start(spec, 20.0, str(scratch), b"", number, good) for number, spec in enumerate(specs, 1)))
        return scratch

    async def cancel(self, number: int | None = None) -> None:
        self._write(Cancel(self._count if number is None else number))

    async def withdraw(self) -> None:
        self._write(Withdraw())

    def _write(self, *requests: Request) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"".join(map(frame, requests)))

    async def reply(self) -> Reply:
        """The next thing that it says."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            reply = await self._answers.reply()
        assert reply is not None, "the runner ended without an answer"
        return reply

    async def done(self) -> Done:
        while True:
            match await self.reply():
                case Done() as done:
                    return done
                case Output() as output:
                    self.output.append(output)
                case Blob(data):
                    self.blobs.append(data)

    async def run(self, spec: CommandTask | PlanTask | ScanTask, *, timeout: float = 20.0, files: bytes = b"") -> Done:
        await self.start(spec, timeout=timeout, files=files)
        return await self.done()


@asynccontextmanager
async def running_runner(
    folder: Path, *, command: Sequence[str] = RUNNER, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Runner]:
    ours, theirs = os.pipe()
    answers = Frames(ours)
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=theirs, env=environment
    )
    os.close(theirs)
    try:
        yield Runner(process, answers, folder)
    finally:
        answers.close()
        if process.returncode is None:
            process.kill()
        await process.wait()


def python(code: str, *arguments: str, output_limit: int = 1024 * 1024, memory_limit: int = 0) -> CommandTask:
    """A command that runs a few lines of Python."""
    argv = (sys.executable, "-c", code, *arguments)
    return CommandTask(argv=argv, allowed=("any",), output_limit_bytes=output_limit, memory_limit_bytes=memory_limit)


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it may go between the opening and the reading
        return False


async def gone(*pids: int) -> bool:
    """Whether all of them end before the deadline; looks every few milliseconds, as the kernel tells nobody."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while any(is_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True


async def wait_for_file(path: Path) -> str:
    """The text of a file once it has some."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < deadline, f"{path} was not written"
        await asyncio.sleep(0.01)
    return path.read_text()


async def wait_until_there(path: Path) -> None:
    """Until something is at that path."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} was not made"
        await asyncio.sleep(0.01)
