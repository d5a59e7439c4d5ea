"""Plain requests to an API server as the user of a kubeconfig, through one `kubectl proxy` that stays.

The pressure: each kubectl costs a tenth of a second of processor time, and every test makes and deletes a namespace.
What must stay true: whatever a kubeconfig says of who one is, kubectl understands it; nobody else reaches the proxy.
"""

from __future__ import annotations

import atexit
import http.client
import json
import os
import socket
import tempfile
from pathlib import Path
from typing import Any

from .process import Program, ServerProcess

ANSWER_SECONDS = 30.0


class _ToSocket(http.client.HTTPConnection):
    """HTTP over a socket in a folder."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Requests:
    """Requests as the user of that kubeconfig; the proxy begins with the first and ends with this process."""

    def __init__(self, kubeconfig: Path, kubectl: Path) -> None:
        # Open to this user alone, and short: a socket's path has a hundred characters.
        self._folder = tempfile.TemporaryDirectory(prefix="proxy-")
        self._socket = Path(self._folder.name) / "socket"
        command = (str(kubectl), f"--kubeconfig={kubeconfig}", "proxy", f"--unix-socket={self._socket}")
        log = Path(self._folder.name) / "log"
        self._proxy = ServerProcess(Program("kubectl proxy", command, self._not_ready), log)
        atexit.register(self.close)  # also what keeps this, whoever drops a cluster in the middle of a test

    def close(self) -> None:
        """End the proxy."""
        self._proxy.kill()
        self._folder.cleanup()

    def send(self, method: str, path: str, body: dict[str, Any] | None = None, *, accept: tuple[int, ...] = ()) -> Any:
        """The answer's JSON. AssertionError for a status of 400 and more that is not in `accept`."""
        if not self._proxy.running:
            self._socket.unlink(missing_ok=True)
            self._proxy.start()
            self._proxy.wait_ready()
        status, text = self._send(method, path, body)
        assert status < 400 or status in accept, f"{method} {path} was answered {status}: {text.decode()}"
        return json.loads(text)

    def _send(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, bytes]:
        connection = _ToSocket(self._socket)
        try:
            headers = {"Content-Type": "application/json", "Accept": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _not_ready(self) -> str | None:
        try:
            self._send("GET", "/version", None)
        except OSError as error:
            return os.strerror(error.errno) if error.errno else str(error)
        return None
