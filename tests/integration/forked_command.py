"""The command as a process that has its modules loaded: a fork of one that waits for command lines.

The pressure: loading the program takes a second of processor time, and hundreds of tests run it to its end for what it
prints. What must stay true: each command is a process of its own with its own streams, folder, variables and exit code,
it begins where the console script begins and ends as Python ends. What a start is about (signals, variables that Python
itself reads) is shown with the program: `cli_tools.run_program`.
"""

from __future__ import annotations

import atexit
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
MOST_BYTES = 200_000  # of a command line with its variables: one packet


class CommandServer:
    """The waiting process, started with that Python; what it is started with in its variables is what modules read."""

    def __init__(self, python: str = sys.executable, *, env: dict[str, str] | None = None) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [python, "-m", __name__, str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=env)

    def run(
        self, arguments: list[str], *, cwd: str, env: dict[str, str], seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; one that takes longer is killed."""
        wanted = json.dumps({"arguments": arguments, "cwd": cwd, "env": env}).encode()
        assert len(wanted) < MOST_BYTES
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            with theirs:
                socket.send_fds(self._control, [wanted], [theirs.fileno(), out.fileno(), err.fileno()])
            pid = int(ours.recv(64))
            if not select.select([ours], [], [], seconds)[0]:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(arguments, seconds, _text(out), _text(err))
            code = int(ours.recv(64))
            return subprocess.CompletedProcess(arguments, code, _text(out), _text(err))

    def close(self) -> None:
        """End the waiting process."""
        self._control.close()
        self._process.wait(timeout=30)


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode().replace("\r\n", "\n")


@cache
def command_server() -> CommandServer:
    """The one of this test process."""
    server = CommandServer()
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
        if os.fork() == 0:
            control.close()
            if (pid := os.fork()) == 0:
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
    os.chdir(wanted["cwd"])
    os.environ.clear()
    os.environ.update(wanted["env"])
    sys.argv = ["mahavishnu", *wanted["arguments"]]
    tempfile.tempdir = None


if __name__ == "__main__":
    for module in LOADED:
        importlib.import_module(f"mahavishnu_operator.{module}")
    assert threading.active_count() == 1  # a fork would lose the others
    gc.freeze()
    sys.path[0] = os.path.dirname(sys.executable)  # as of a console script
    become(wait_for_commands(socket.socket(fileno=int(sys.argv[1]))))
    from mahavishnu_operator.cli.entry import main

    main()
