"""The command as a process that has its modules loaded: a fork of one that waits for command lines.

The pressure: loading the program takes a second of processor time, and hundreds of tests run it for what it prints or
serves. What must stay true: each command is a process of its own with its own streams, folder, variables and exit code,
it begins where the console script begins and ends as Python ends, and none outlives the test run, whatever ends that.
What a start is about (signals, variables that Python itself reads) is shown with the program: `cli_tools.run_program`.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from functools import cache
from typing import IO, Any

LOADED = (
    *("cli.main", "cli.cluster_scan", "cli.local_scan", "cli.settings", "control.embedded", "scan.terminal"),
    *("resources.kubernetes", "support.logs", "store.copying"),
    *("client.client", "mcp_gateway.on_workers", "mcp_gateway.remembering", "mcp_gateway.spawning", "cli.following"),
)
SERVERS = ("cli.up", "cli.operator", "cli.mcp", "control.operator", "mcp_gateway.running", "resources.rest")
PR_SET_PDEATHSIG = 1
MOST_BYTES = 200_000  # of a command line with its variables: one packet


class RunningCommand:
    """A command that was started: what tests need of subprocess.Popen."""

    def __init__(self, args: list[str], pid: int, ending: socket.socket) -> None:
        self.args, self.pid, self._ending = args, pid, ending
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """What it ended with, minus the signal's number when one killed it; None while it runs."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """The same once it has ended. subprocess.TimeoutExpired."""
        if (code := self._look(timeout)) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Nothing happens when it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _look(self, seconds: float | None) -> int | None:
        if self.returncode is None and select.select([self._ending], [], [], seconds)[0]:
            self.returncode = int(self._ending.recv(64))
            self._ending.close()
        return self.returncode


class CommandServer:
    """The waiting process, started with that Python; what it is started with in its variables is what modules read."""

    def __init__(
        self, python: str = sys.executable, *, servers: bool = False, env: dict[str, str] | None = None
    ) -> None:
        """`servers`: with what the commands need that serve, and no other."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [python, "-m", __name__, str(theirs.fileno()), *(SERVERS if servers else ())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=env)

    def start(
        self, arguments: list[str], *, cwd: str, env: dict[str, str], out: int, err: int, new_session: bool = False
    ) -> RunningCommand:
        """Start a command that writes to those descriptors."""
        told = {"arguments": arguments, "cwd": cwd, "env": env, "new_session": new_session}
        wanted = json.dumps(told).encode()
        assert len(wanted) < MOST_BYTES
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(self._control, [wanted], [theirs.fileno(), out, err])
        return RunningCommand(arguments, int(ours.recv(64)), ours)

    def run(
        self, arguments: list[str], *, cwd: str, env: dict[str, str], seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; one that takes longer is killed."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            running = self.start(arguments, cwd=cwd, env=env, out=out.fileno(), err=err.fileno())
            try:
                code = running.wait(seconds)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()
                raise subprocess.TimeoutExpired(arguments, seconds, _text(out), _text(err)) from None
            return subprocess.CompletedProcess(arguments, code, _text(out), _text(err))

    def close(self) -> None:
        """End the waiting process."""
        self._control.close()
        self._process.wait(timeout=30)


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode().replace("\r\n", "\n")


@cache
def command_server(*, servers: bool = False) -> CommandServer:
    """The one of this test process, for commands or for those that serve."""
    server = CommandServer(servers=servers)
    atexit.register(server.close)
    return server


def wait_for_commands(control: socket.socket) -> dict[str, Any]:
    """Fork a process a command, until nobody can send one: returns in that process alone, with what to do."""
    while True:
        _reap()
        message, descriptors, _, _ = socket.recv_fds(control, MOST_BYTES, 3)
        if not message:
            _reap()
            sys.exit()
        reply, out, err = descriptors
        waiting = os.getpid()
        if os.fork() == 0:
            _die_with(waiting)
            control.close()
            between = os.getpid()
            if (pid := os.fork()) == 0:
                _die_with(between)
                os.close(reply)
                _take_over(out, err)
                wanted: dict[str, Any] = json.loads(message)
                return wanted
            _tell_the_end(socket.socket(fileno=reply), pid)
        for descriptor in descriptors:
            os.close(descriptor)


def _reap() -> None:
    """Wait for those that have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _die_with(parent: int) -> None:
    """Be killed when the parent dies, also by kill -9."""
    if ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0 or os.getppid() != parent:
        os._exit(1)


def _take_over(out: int, err: int) -> None:
    for source, target in ((out, 1), (err, 2)):
        os.dup2(source, target)
        os.close(source)


def _tell_the_end(reply: socket.socket, pid: int) -> None:
    with suppress(BrokenPipeError):  # of a test that has given up
        reply.send(str(pid).encode())
        reply.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
    os._exit(0)


def become(wanted: dict[str, Any]) -> None:
    """Take on the folder, the variables and the command line."""
    if wanted["new_session"]:
        os.setsid()
    os.chdir(wanted["cwd"])
    os.environ.clear()
    os.environ.update(wanted["env"])
    sys.argv = ["mahavishnu", *wanted["arguments"]]
    tempfile.tempdir = None


if __name__ == "__main__":
    for module in sys.argv[2:] or LOADED:
        importlib.import_module(f"mahavishnu_operator.{module}")
    assert threading.active_count() == 1  # a fork would lose the others
    gc.freeze()
    sys.path[0] = os.path.dirname(sys.executable)  # as of a console script
    become(wait_for_commands(socket.socket(fileno=int(sys.argv[1]))))
    from mahavishnu_operator.cli.entry import main

    main()
