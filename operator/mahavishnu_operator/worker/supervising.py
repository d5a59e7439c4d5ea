"""One tool or command as a child process, kept within its limits, with nothing left of it afterwards.

The pressure: it may print without end, eat memory, ignore SIGTERM, fork and hang. What must stay true: it gets no
shell, no stdin, no environment of ours; every limit ends it and says which it was; the runner's memory is
bounded by the output limit; when `supervise` returns, no descendant is left.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from . import descendants

TERM_GRACE_SECONDS = 2.0  # between SIGTERM and SIGKILL on cancel and time-out
MEMORY_POLL_SECONDS = 0.2
CHUNK_BYTES = 65_536

StreamName = Literal["stdout", "stderr"]
OnOutput = Callable[[StreamName, int, bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Limits:
    """`output_bytes` for each of the two streams; `memory_bytes` 0: none."""

    timeout_seconds: float
    output_bytes: int
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended. `stopped_by`: empty when by itself; else TimedOut, Cancelled, OutputLimit or MemoryLimit."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    stdout_bytes: int
    stderr_bytes: int
    seconds: float
    stopped_by: str = ""


async def supervise(
    argv: Sequence[str],
    *,
    cwd: str,
    environment: Mapping[str, str],
    limits: Limits,
    cancel: asyncio.Event,
    on_output: OnOutput | None = None,
) -> Ended:
    """Run argv to its end. OSError when it cannot be started."""
    begun = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=cwd,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        umask=0o077,
    )
    child = _Child(process, limits, on_output)
    stopped_by = await child.wait(cancel)
    exit_code = await process.wait()
    return Ended(
        exit_code=exit_code,
        stdout=bytes(child.kept["stdout"]),
        stderr=bytes(child.kept["stderr"]),
        stdout_bytes=child.seen["stdout"],
        stderr_bytes=child.seen["stderr"],
        seconds=time.monotonic() - begun,
        stopped_by=stopped_by,
    )


class _Child:
    """The process, its two readers, and the watch over its limits."""

    def __init__(self, process: asyncio.subprocess.Process, limits: Limits, on_output: OnOutput | None) -> None:
        self._process, self._limits, self._on_output = process, limits, on_output
        self._over = asyncio.Event()
        self.kept: dict[StreamName, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self.seen: dict[StreamName, int] = {"stdout": 0, "stderr": 0}

    async def wait(self, cancel: asyncio.Event) -> str:
        """Wait for the end or bring it about; the limit that did, or ''."""
        readers = [asyncio.create_task(self._read("stdout")), asyncio.create_task(self._read("stderr"))]
        ending = asyncio.create_task(_exited(self._process.pid))
        watches = {
            asyncio.create_task(cancel.wait()): "Cancelled",
            asyncio.create_task(self._over.wait()): "OutputLimit",
            asyncio.create_task(asyncio.sleep(self._limits.timeout_seconds)): "TimedOut",
        }
        if self._limits.memory_bytes:
            watches[asyncio.create_task(self._watch_memory())] = "MemoryLimit"
        try:
            done, _ = await asyncio.wait({ending, *watches}, return_when=asyncio.FIRST_COMPLETED)
            stopped_by = "" if ending in done else next(name for task, name in watches.items() if task in done)
            if stopped_by in ("Cancelled", "TimedOut"):
                await self._ask_to_end(ending)
            await self._end()
            await ending
            await asyncio.gather(*readers)  # all who held the pipes are dead, so both end now
            return stopped_by
        finally:
            for task in [*watches, *readers, ending]:
                task.cancel()
            await self._end()

    async def _ask_to_end(self, ending: asyncio.Task[None]) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        await asyncio.wait({ending}, timeout=TERM_GRACE_SECONDS)

    async def _end(self) -> None:
        await asyncio.to_thread(descendants.end_all, awaited=(self._process.pid,))

    async def _watch_memory(self) -> None:
        while True:  # the kernel tells nobody when a process grows: look again and again
            if descendants.resident_bytes() > self._limits.memory_bytes:
                return
            await asyncio.sleep(MEMORY_POLL_SECONDS)

    async def _read(self, name: StreamName) -> None:
        stream = self._process.stdout if name == "stdout" else self._process.stderr
        if stream is None:
            raise ValueError(f"the process was started without a pipe for {name}")
        while data := await stream.read(CHUNK_BYTES):
            offset, room = self.seen[name], self._limits.output_bytes - len(self.kept[name])
            self.seen[name] += len(data)
            kept = data[:room]
            self.kept[name] += kept
            if kept and self._on_output is not None:
                await self._on_output(name, offset, kept)
            if len(data) > room:
                self._over.set()


async def _exited(pid: int) -> None:
    """Wait for the process alone: Process.wait also waits for the pipes, which its children may hold for ever."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
