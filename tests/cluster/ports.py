"""Loopback ports that stay one cluster's own until it is closed, even while the server on one of them is down.

Asking the kernel for a free port and closing the socket again is a race: any outgoing connection, or another test run,
may get the number next, and a killed API server must be able to come back on its port. So ports come from below the
range that the kernel gives to outgoing connections, and each is held by a lock on a file that all runs of this user
share. What remains is a program that knows nothing of these locks and binds the same port; the server's log then says
"address already in use".
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import IO

# Above most developers' tools, below Kubernetes' NodePorts (from 30000) and Linux's outgoing ports (from 32768).
CANDIDATES = range(20000, 30000)


class PortReservation:
    """Ports locked for this process; the locks end with `release` or with the process, however it ends."""

    def __init__(self, count: int) -> None:
        """Reserve `count` ports. Raises OSError when not enough of the candidates are free."""
        self._locks = contextlib.ExitStack()
        ports: list[int] = []
        for port in random.sample(CANDIDATES, len(CANDIDATES)):
            if len(ports) == count:
                break
            if (lock := _lock(port)) is not None:
                self._locks.enter_context(lock)
                ports.append(port)
        self.ports = tuple(ports)
        if len(ports) < count:
            self.release()
            raise OSError(f"fewer than {count} free ports on 127.0.0.1 between {CANDIDATES[0]} and {CANDIDATES[-1]}")

    def release(self) -> None:
        self._locks.close()


def _lock(port: int) -> IO[str] | None:
    folder = Path(tempfile.gettempdir()) / f"mahavishnu-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = (folder / str(port)).open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with socket.socket() as probe:
            # As the servers do, so that connections of an earlier run in TIME_WAIT do not count as taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except OSError:
        lock.close()
        return None
    return lock
