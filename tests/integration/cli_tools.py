"""The command as a person runs it: a process, its exit code, its two streams."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.cluster.process import Spawned

from .forked_command import RunningCommand, command_server

MAHAVISHNU = str(Path(sys.executable).with_name("mahavishnu"))
DEADLINE_SECONDS = 60.0


def environment(**more: str) -> dict[str, str]:
    """The tests' environment without settings of whoever runs them."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAHAVISHNU_")}
    return {**kept, "MAHAVISHNU_CONFIG": "/nonexistent/config.yaml", **more}


def run(
    *arguments: str | Path, cwd: Path | None = None, seconds: float = DEADLINE_SECONDS, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    folder = str(cwd or Path.cwd())
    return command_server().run(list(map(str, arguments)), cwd=folder, env=environment(**more), seconds=seconds)


def run_program(
    *arguments: str | Path, seconds: float = DEADLINE_SECONDS, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run the program itself to its end: where it matters how Python starts."""
    return subprocess.run(
        [MAHAVISHNU, *map(str, arguments)],
        env=environment(**more),
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )


class Up:
    """A running `mahavishnu up`."""

    def __init__(self, process: Spawned, url: str, data: Path) -> None:
        self.process, self.url, self.data = process, url, data

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """A client command against this server."""
        return run(*arguments, MAHAVISHNU_URL=self.url)

    def kill(self) -> list[psutil.Process]:
        """kill -9 the server; what was below it."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        return below


def start_serving(*arguments: str, log: Path) -> RunningCommand:
    """A command that serves, its lines in that file."""
    with log.open("wb") as out:
        server, stream = command_server(servers=True), out.fileno()
        return server.start(list(arguments), cwd=str(Path.cwd()), env=environment(), out=stream, err=stream)


@contextmanager
def running_up(data: Path, *options: str, program: str | None = None) -> Iterator[Up]:
    """`mahavishnu up` on free ports, or what that program makes of it; ended with SIGTERM."""
    log = data.with_suffix(".log")
    arguments = ["up", "--data", str(data), "--port", "0", "--dispatch-port", "0", *options]
    process: Spawned
    if program is None:
        process = start_serving(*arguments, log=log)
    else:
        with log.open("w") as stderr:
            process = subprocess.Popen([program, *arguments], env=environment(), stderr=stderr)
    try:
        yield Up(process, find_said(process, log, r"serving on (http://\S+);"), data)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


@contextmanager
def running_gateway(*options: str, log: Path) -> Iterator[tuple[str, RunningCommand]]:
    """`mahavishnu mcp start` over HTTP on a free port, and its address; ended with SIGTERM."""
    process = start_serving("mcp", "start", "--port", "0", *options, log=log)
    try:
        yield find_said(process, log, r"serving agents on (https?://\S+)/mcp"), process
    finally:
        process.terminate()
        process.wait(DEADLINE_SECONDS)


def kill_workers(up: Up, name: str) -> None:
    """As somebody else would who ends processes: their folders have their pools' names and their own in them."""
    for process in psutil.Process(up.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            if name in process.cwd():
                process.kill()


def find_said(process: Spawned, log: Path, pattern: str, *, seconds: float = DEADLINE_SECONDS) -> str:
    """The group of the pattern once a process has written that to its log. AssertionError: it ended, or never did."""
    deadline = time.monotonic() + seconds
    while not (found := re.search(pattern, log.read_text())):
        assert process.poll() is None, f"it ended without saying {pattern}:\n{log.read_text()}"
        assert time.monotonic() < deadline, f"it never said {pattern}:\n{log.read_text()}"
        time.sleep(0.02)
    return found.group(1)
