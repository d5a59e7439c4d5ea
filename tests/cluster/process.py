"""One server process of the test cluster: start it, wait until it is ready, stop or kill it, start it again.

The promise to keep: nothing outlives the test run (see die_with_parent.py), and a process that dies while it is waited
for is reported at once with the end of its log, instead of as a timeout half a minute later.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

READY_TIMEOUT = 60.0
STOP_TIMEOUT = 30.0
POLL_INTERVAL = 0.05
LOG_TAIL_LINES = 40

_WRAPPER = Path(__file__).with_name("die_with_parent.py")
# To the kernel a child's parent is the thread that made it, and a test may start things from a short-lived thread.
# This one lives as long as the interpreter.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cluster-spawner")


class ClusterError(Exception):
    """A part of the test cluster did not start, stop or answer; the message holds the end of its log."""


@dataclass(frozen=True)
class Program:
    """What to run: a name for people, the command line, and how to know that it serves.

    `check_ready` answers None when ready and otherwise a short reason why not; it must return within a second or so.
    `user`: uid and gid to run as, where the tests run as root and the program refuses to.
    """

    name: str
    argv: tuple[str, ...]
    check_ready: Callable[[], str | None]
    user: tuple[int, int] | None = None


class Spawned(Protocol):
    """A process that was started: what is used of subprocess.Popen."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, number: int, /) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class ServerProcess:
    """A program that runs at most once at a time; its log is one file, appended to by every start."""

    def __init__(self, program: Program, log: Path) -> None:
        self.program = program
        self.log = log
        self._process: Spawned | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id. Raises ClusterError when it is not running."""
        if self._process is None or not self.running:
            raise ClusterError(f"{self.program.name} is not running")
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """What it ended with the last time, minus the signal's number when one killed it; None while it runs."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it without waiting for anything. Raises ClusterError when it runs already."""
        if self.running:
            raise ClusterError(f"{self.program.name} is running already (pid {self.pid}): stop or kill it first")
        self._process = _spawner.submit(self._spawn).result()

    def _spawn(self) -> Spawned:
        user = "{}:{}".format(*self.program.user or ("", ""))
        command = [sys.executable, "-I", "-S", str(_WRAPPER), str(os.getpid()), user, *self.program.argv]
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C in a terminal is for pytest, whose teardown still needs the cluster.
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait_ready(self, timeout: float = READY_TIMEOUT) -> None:
        """Return when it serves. Raises ClusterError when it ends, or is not ready within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            if not self.running:
                status = "was not started" if self._process is None else f"ended with {self._process.returncode}"
                raise ClusterError(f"{self.program.name} {status} and was waited for.\n{self.log_tail()}")
            reason = self.program.check_ready()
            if reason is None:
                return
            if time.monotonic() > deadline:
                raise ClusterError(f"{self.program.name} not ready after {timeout:g} s: {reason}\n{self.log_tail()}")
            time.sleep(POLL_INTERVAL)

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """End it politely (SIGTERM) and wait until it has gone: until then it keeps its port.

        Raises ClusterError when it has not gone within `timeout` seconds; it then still runs.
        """
        self._signal_and_wait(signal.SIGTERM, timeout)

    def kill(self) -> None:
        """End it with SIGKILL and wait until it has gone. Nothing happens when it is not running."""
        self._signal_and_wait(signal.SIGKILL, STOP_TIMEOUT)

    def _signal_and_wait(self, number: signal.Signals, timeout: float) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)  # does nothing when the process has ended already
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise ClusterError(
                f"{self.program.name} (pid {self._process.pid}) still runs {timeout:g} s after {number.name}.\n"
                f"{self.log_tail()}"
            ) from error

    def log_tail(self) -> str:
        """The last lines of its log, under a line that says where the whole is."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join([f"--- end of {self.log}:", *text.splitlines()[-LOG_TAIL_LINES:]])
