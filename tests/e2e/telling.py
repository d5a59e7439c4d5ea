"""What really ran in Pods, told by the tasks themselves over the node's network; and tasks that wait for the test.

A Pod's files go with it, so its tasks cannot write to a file that the test reads, as those of tests/chaos do. They
call this machine instead, and what they say is written to that file here, before they are answered.
"""

from __future__ import annotations

import os
import socketserver
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.chaos.witness import Witness
from tests.integration.operator_tools import poll

from .operating import NODE_DEADLINE, python_task

SCRIPT = """\
import os, socket, sys, time
run = os.urandom(8).hex()
def say(word):
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 60) as line:
        line.settimeout(None)
        line.sendall(f"{word} {sys.argv[3]} {run}\\n".encode())
        if line.recv(1) != b".":
            sys.exit("nobody answered")
open("work", "w").write(run)
say("began")
time.sleep(float(sys.argv[4])) if sys.argv[4] != "gate" else say("waits")
say("ended")
print(run)
"""


class PodWitness(Witness):
    """A Witness for tasks in Pods; `with PodWitness(...) as witness`. `host`: where Pods reach this machine."""

    def __init__(self, path: Path, *, host: str) -> None:
        super().__init__(path)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)
        self._gates: dict[str, threading.Event] = {}
        self._server = _Server((host, 0), _Told)
        self._server.witness = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for gate in self._gates.values():
            gate.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()  # waits for those that are being answered
        os.close(self._file)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def command(self, task: str, *, seconds: float) -> list[str]:
        """The argv of a task that takes so long."""
        return python_task(SCRIPT, *self.address, task, seconds)

    def gated(self, task: str) -> list[str]:
        """The argv of a task that goes on until `open`."""
        self._gates[task] = threading.Event()
        return python_task(SCRIPT, *self.address, task, "gate")

    def open(self, *tasks: str) -> None:
        """Let tasks go on, all of them when none is named."""
        for task in tasks or self._gates:
            self._gates[task].set()

    async def until_began(self, *tasks: str, times: int = 1) -> None:
        """Return once each of these tasks has begun so often."""
        await poll(lambda: all(self.times_begun(task) >= times for task in tasks), NODE_DEADLINE)

    def times_begun(self, task: str) -> int:
        """How often a task was started."""
        return len(self.read().began.get(task, ()))

    def hear(self, line: bytes) -> None:
        """What a task says; returns when it may go on."""
        word, task, _ = line.decode().split()
        if word == "waits":
            self._gates[task].wait()
        else:
            os.write(self._file, line)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = False
    request_queue_size = 256
    witness: PodWitness


class _Told(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        line = self.rfile.readline(1024)
        if line.endswith(b"\n"):
            self.server.witness.hear(line)
            self.wfile.write(b".")
