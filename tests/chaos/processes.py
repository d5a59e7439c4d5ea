"""Faults of processes, and the proof that none is left: kill, stop and go on, who is who below a server.

The test's process becomes a child subreaper while a storm lasts, so that whatever a killed server leaves behind is
found below it instead of below init.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from tests.integration.forked_command import command_server

_PR_SET_CHILD_SUBREAPER = 36
LEAVE_SECONDS = 60.0
AGENT, RUNNER, TOOL = "agent", "runner", "tool"


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def role(process: psutil.Process) -> str:
    """What a process below a server is; '' for one that has gone or is just becoming something."""
    try:
        words = process.cmdline()
    except psutil.Error:
        return ""
    if "mahavishnu_operator.worker.runner" in words:
        return RUNNER
    if "mahavishnu_operator.worker" in words:
        return AGENT
    return TOOL if words else ""


def below(root: psutil.Process) -> Iterator[psutil.Process]:
    """All descendants, asked of the kernel one by one: psutil reads the whole process table first, which takes longer
    than a tool lives when the machine is busy.
    """
    for file in Path(f"/proc/{root.pid}/task").glob("*/children"):
        with suppress(OSError, psutil.NoSuchProcess):
            for pid in file.read_text().split():
                child = psutil.Process(int(pid))
                yield child
                yield from below(child)


def find(roots: Sequence[int], wanted: str) -> list[psutil.Process]:
    """Those below the roots that have this role, oldest first; roots that are agents are among them."""
    found = []
    for pid in roots:
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(pid)
            found += [process for process in [root, *below(root)] if role(process) == wanted]
    if wanted != AGENT:
        found = [process for process in found if process.pid not in roots]
    return sorted(found, key=lambda process: process.pid)


def choose(pick: float, processes: Sequence[psutil.Process]) -> psutil.Process | None:
    """The one that a strike's `pick` means."""
    return processes[int(pick * len(processes))] if processes else None


class Later:
    """Undoes faults when their time is over. `finish` waits for all and raises what went wrong."""

    def __init__(self) -> None:
        self._timers: list[threading.Timer] = []
        self._errors: list[Exception] = []

    def undo(self, seconds: float, how: Callable[[], None]) -> None:
        """Call `how` after that time, on a thread."""

        def run() -> None:
            try:
                how()
            except Exception as error:  # noqa: BLE001 (raised by `finish`)
                self._errors.append(error)

        timer = threading.Timer(seconds, run)
        timer.daemon = True
        timer.start()
        self._timers.append(timer)

    def finish(self) -> None:
        """Return when everything is undone."""
        for timer in self._timers:
            timer.join()
        self._timers.clear()
        if self._errors:
            raise self._errors[0]


def kill(process: psutil.Process) -> bool:
    """kill -9; whether there was something to kill."""
    with suppress(psutil.NoSuchProcess):
        process.kill()
        return True
    return False


def terminate(process: psutil.Process) -> bool:
    """SIGTERM; whether there was something to tell."""
    with suppress(psutil.NoSuchProcess):
        process.terminate()
        return True
    return False


def stop_for(seconds: float, process: psutil.Process, later: Later) -> bool:
    """SIGSTOP, and SIGCONT after that time; whether there was something to stop."""

    def go_on() -> None:
        with suppress(psutil.NoSuchProcess):
            process.resume()

    with suppress(psutil.NoSuchProcess):
        process.suspend()
        later.undo(seconds, go_on)
        return True
    return False


class Family:
    """`with Family() as family`: all that is started inside, however far it got away."""

    def __enter__(self) -> Self:
        command_server(servers=True)  # of the whole test process: not of what is started inside
        _be_subreaper(True)
        self._before = {child.pid for child in psutil.Process().children(recursive=True)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._below(()):
            kill(process)
        self._reap()
        _be_subreaper(False)

    def wait_alone(self, expected: Collection[int] = ()) -> list[str]:
        """Until no process is left but the expected ones and what is below them; else who they are."""
        deadline = time.monotonic() + LEAVE_SECONDS
        while left := [process for process in self._below(expected) if is_alive(process)]:
            if time.monotonic() > deadline:
                return [f"{process.pid} {role(process)} {_words(process)}" for process in left]
            time.sleep(0.02)
        self._reap()
        return []

    def _below(self, expected: Collection[int]) -> list[psutil.Process]:
        found = []
        for child in psutil.Process().children():
            if child.pid not in self._before and child.pid not in expected:
                with suppress(psutil.NoSuchProcess):
                    found += [child, *child.children(recursive=True)]
        return found

    def _reap(self) -> None:
        """Zombies that came to us: nobody else waits for them."""
        for child in psutil.Process().children():
            with suppress(psutil.NoSuchProcess, ChildProcessError):
                if child.pid not in self._before and child.status() == psutil.STATUS_ZOMBIE:
                    os.waitpid(child.pid, os.WNOHANG)


def wait_gone(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Those that still run after the deadline."""
    deadline = time.monotonic() + LEAVE_SECONDS
    while alive := [process for process in processes if is_alive(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return alive


def _words(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())[:120]
    return "?"


def _be_subreaper(yes: bool) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, int(yes), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")
