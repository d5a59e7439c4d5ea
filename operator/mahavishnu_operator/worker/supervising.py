"""One tool or command as a child process, kept within its limits, with nothing left of it afterwards.

The pressure: it may print without end, eat memory, fill the disk, ignore SIGTERM, fork and hang; and most of them
are over in a millisecond, so a moment is waited for the process alone before the event loop is set up to watch it, and
there is no thread and no task beside it, only callbacks. What must stay true: it gets no shell, no stdin, no
environment of ours; every limit ends it and says which it was; the runner's memory is bounded by the output limit;
when `supervise` returns, no descendant is left.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Literal

from . import descendants
from .confining import Confinement
from .outputs import StreamName

TERM_GRACE_SECONDS = 2.0  # between SIGTERM and SIGKILL on cancel and time-out
BRIEF_SECONDS = 0.01  # the moment: what fills a pipe, or is cancelled, is attended to after it
POLL_SECONDS = 0.2  # the kernel tells nobody when a process grows or a disk fills: look again and again
DISK_RESERVE_BYTES = 256 * 1024 * 1024
CHUNK_BYTES = 65_536

OnOutput = Callable[[StreamName, int, bytes], None]
StoppedBy = Literal["", "TimedOut", "Cancelled", "OutputLimit", "MemoryLimit", "DiskLimit"]


@dataclass(frozen=True, slots=True)
class Limits:
    """`output_bytes` for each of the two streams; `memory_bytes` 0: none."""

    timeout_seconds: float
    output_bytes: int
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended. `stopped_by`: empty when by itself; else the limit that ended it."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    stdout_bytes: int
    stderr_bytes: int
    seconds: float
    stopped_by: StoppedBy = ""


def disk_is_filling(*, free_at_start: int, free_now: int) -> bool:
    """Whether a task takes the last of a disk: a machine that was short of space before is not its fault."""
    return free_now < min(DISK_RESERVE_BYTES, free_at_start // 2)


async def clear_descendants() -> None:
    """`descendants.end_all`, in a thread only where there is something to end. Stuck."""
    if descendants.has_children():
        await asyncio.to_thread(descendants.end_all)


async def supervise(
    argv: Sequence[str],
    *,
    cwd: str,
    environment: Mapping[str, str],
    limits: Limits,
    cancel: asyncio.Future[None],
    on_output: OnOutput | None = None,
    confinement: Confinement | None = None,
    readable: Sequence[str] = (),
) -> Ended:
    """Run argv to its end. OSError or ValueError when it cannot be started, Stuck when it cannot be ended.

    `confinement`: it writes to its TMPDIR alone, and of what is shared it reads that and `readable`.
    """
    begun = time.monotonic()
    start = partial(_start, argv, cwd, environment)
    if confinement is None:
        started = start()
    else:
        started = confinement.start(start, writable=environment["TMPDIR"], readable=readable)
    child = _Child(started, limits, on_output, scratch=environment["TMPDIR"])
    try:
        stopped_by: StoppedBy = "" if not cancel.done() and child.is_brief() else await child.until_over(cancel)
        exit_code = await child.end(gently=stopped_by in ("Cancelled", "TimedOut"))
    finally:
        child.close()
    return Ended(
        exit_code=exit_code,
        stdout=bytes(child.kept["stdout"]),
        stderr=bytes(child.kept["stderr"]),
        stdout_bytes=child.seen["stdout"],
        stderr_bytes=child.seen["stderr"],
        seconds=time.monotonic() - begun,
        stopped_by=stopped_by or ("OutputLimit" if child.is_over else ""),
    )


@dataclass(frozen=True, slots=True)
class _Started:
    """A process, by its number and by a descriptor that tells of its end, and the reading ends of its streams."""

    pid: int
    descriptor: int
    stdout: int
    stderr: int


def _start(argv: Sequence[str], cwd: str, environment: Mapping[str, str]) -> _Started:
    """Start it in a session of its own. It inherits the three streams alone: all else here is closed on exec.

    For that moment, in which this process does nothing else, our own folder is its folder; our umask is its own.
    """
    with ExitStack() as ours, ExitStack() as theirs:
        here = os.open(".", os.O_PATH | os.O_DIRECTORY)
        theirs.callback(os.close, here)
        os.chdir(cwd)
        theirs.callback(os.fchdir, here)
        ends = []
        for _ in range(2):
            reading, writing = os.pipe()
            ours.callback(os.close, reading)
            theirs.callback(os.close, writing)
            os.set_blocking(reading, False)
            ends.append((reading, writing))
        (stdout, theirs_out), (stderr, theirs_err) = ends
        pid = os.posix_spawn(
            argv[0],
            list(argv),
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, theirs_out, 1),
                (os.POSIX_SPAWN_DUP2, theirs_err, 2),
            ],
            setsid=True,
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),  # which Python ignores
        )
        started = _Started(pid, os.pidfd_open(pid), stdout, stderr)
        ours.pop_all()
        return started


class _Child:
    """The process, its two pipes, and the watch over its limits."""

    def __init__(self, started: _Started, limits: Limits, on_output: OnOutput | None, *, scratch: str) -> None:
        self._pid, self._descriptor = started.pid, started.descriptor
        self._pipes: dict[StreamName, int] = {"stdout": started.stdout, "stderr": started.stderr}
        self._limits, self._on_output, self._scratch = limits, on_output, scratch
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[StoppedBy] = self._loop.create_future()
        self._exited: asyncio.Future[None] = self._loop.create_future()
        self._watched = False
        self.is_over = False
        self.kept: dict[StreamName, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self.seen: dict[StreamName, int] = {"stdout": 0, "stderr": 0}

    def is_brief(self) -> bool:
        """Whether it ends at once. Nothing else is done meanwhile."""
        looking = select.poll()
        looking.register(self._descriptor, select.POLLIN)
        ended = bool(looking.poll(1000 * min(BRIEF_SECONDS, self._limits.timeout_seconds)))
        if ended:
            self._exited.set_result(None)
        return ended

    async def until_over(self, cancel: asyncio.Future[None]) -> StoppedBy:
        """Wait until it ends or breaks a limit; which limit, or ''."""
        self._watched = True
        self._free_at_start = _free_bytes(self._scratch)
        self._loop.add_reader(self._descriptor, self._on_exit)
        for name, pipe in self._pipes.items():
            self._loop.add_reader(pipe, self._read, name)

        def on_cancel(_: asyncio.Future[None]) -> None:
            self._settle("Cancelled")

        cancel.add_done_callback(on_cancel)
        timer = self._loop.call_later(self._limits.timeout_seconds, self._settle, "TimedOut")
        self._polling = self._loop.call_later(POLL_SECONDS, self._poll)
        try:
            return await self._over
        finally:
            timer.cancel()
            self._polling.cancel()
            cancel.remove_done_callback(on_cancel)

    async def end(self, *, gently: bool) -> int:
        """Bring it to its end with all below it, and read what is left in the pipes; its exit code."""
        if gently and not self._exited.done():
            self._signal(signal.SIGTERM)
            await asyncio.wait({self._exited}, timeout=TERM_GRACE_SECONDS)
        if not self._exited.done():
            self._signal(signal.SIGKILL)
            await asyncio.wait({self._exited}, timeout=descendants.STUCK_SECONDS)
            if not self._exited.done():
                raise descendants.Stuck(f"process {self._pid} does not end after SIGKILL")
        exit_code = _reap(self._pid)
        await clear_descendants()
        for name in self._pipes:
            while not self.is_over and self._read(name):
                continue
        return exit_code

    def close(self) -> None:
        """Let go of the descriptors."""
        if self._watched:
            self._loop.remove_reader(self._descriptor)
            for pipe in self._pipes.values():
                self._loop.remove_reader(pipe)
        os.close(self._descriptor)
        for pipe in self._pipes.values():
            os.close(pipe)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._pid, number)

    def _settle(self, why: StoppedBy) -> None:
        if not self._over.done():
            self._over.set_result(why)

    def _on_exit(self) -> None:
        self._loop.remove_reader(self._descriptor)
        self._exited.set_result(None)
        self._settle("")

    def _poll(self) -> None:
        if self._limits.memory_bytes and descendants.resident_bytes() > self._limits.memory_bytes:
            self._settle("MemoryLimit")
        if disk_is_filling(free_at_start=self._free_at_start, free_now=_free_bytes(self._scratch)):
            self._settle("DiskLimit")
        self._polling = self._loop.call_later(POLL_SECONDS, self._poll)

    def _read(self, name: StreamName) -> bool:
        """Take one piece; False when there is none now."""
        try:
            data = os.read(self._pipes[name], CHUNK_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._ignore(name)
            return False
        offset, room = self.seen[name], self._limits.output_bytes - len(self.kept[name])
        self.seen[name] += len(data)
        fitting = data[:room]
        self.kept[name] += fitting
        if fitting and self._on_output is not None:
            self._on_output(name, offset, fitting)
        if len(data) > room:
            self.is_over = True
            self._ignore(name)
            self._settle("OutputLimit")
        return True

    def _ignore(self, name: StreamName) -> None:
        if self._watched:
            self._loop.remove_reader(self._pipes[name])


def _reap(pid: int) -> int:
    """The exit code of a child that has ended; negative for a signal."""
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _free_bytes(folder: str) -> int:
    try:
        status = os.statvfs(folder)
    except FileNotFoundError:  # the tool removed its own folder, so nothing in it fills the disk
        return DISK_RESERVE_BYTES
    return status.f_bavail * status.f_frsize
