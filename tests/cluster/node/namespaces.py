"""The namespaces a node lives in, and how its programs are started inside.

`unshare` makes them and `init.py` is their first process. A program is started by `nsenter`, which is what
`ServerProcess` knows the pid of; `setpriv` makes the program die with it, so killing the one kills the other, and the
end of the first process kills everything, also containers, which containerd detaches from itself.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import psutil

from tests.cluster.process import ClusterError, Program, ServerProcess

from .init import READY

_INIT = Path(__file__).with_name("init.py")


def program(name: str) -> str:
    """The absolute path of a program of the system. Raises ClusterError."""
    found = shutil.which(name)
    if found is None:
        raise ClusterError(f"there is no `{name}` on PATH: it is in Debian's package util-linux")
    return found


class Namespaces:
    """The mount, network, process, hostname and IPC namespaces of one node; `folder` is an existing empty one."""

    def __init__(self, folder: Path, *, hostname: str) -> None:
        arranged = folder / "init"
        arranged.mkdir()
        log = folder / "init.log"
        create = (
            program("unshare"),
            "--mount",
            "--net",
            "--pid",
            "--uts",
            "--ipc",
            "--fork",
            "--kill-child",
            "--mount-proc",
        )
        init = (sys.executable, "-I", "-S", str(_INIT), str(arranged))
        # The hostname is set inside, by the first shell command that every system has.
        argv = (*create, "--propagation=private", "sh", "-c", 'hostname "$0" && exec "$@"', hostname, *init)
        self._process = ServerProcess(
            Program("the node's namespaces", argv, lambda: None if READY in log.read_text() else "not yet arranged"),
            log,
        )

    def start(self) -> None:
        """Make them. Raises ClusterError."""
        self._process.start()
        self._process.wait_ready()

    @property
    def init_pid(self) -> int:
        """The first process, as the machine numbers it. Raises ClusterError when it has gone."""
        children = psutil.Process(self._process.pid).children()
        if not children:
            raise ClusterError(f"the node's namespaces have ended.\n{self._process.log_tail()}")
        return children[0].pid

    def inside(self, *command: str) -> tuple[str, ...]:
        """The command line that runs `command` in the namespaces, to die with whoever waits for it."""
        enter = (program("nsenter"), f"--target={self.init_pid}", "--mount", "--net", "--pid", "--uts", "--ipc")
        return (*enter, "setpriv", "--pdeathsig=KILL", *command)

    def close(self) -> None:
        """End them with everything in them and wait until it has gone. May be called again."""
        if not self._process.running:
            return
        try:
            init = psutil.Process(self.init_pid)
        except (ClusterError, psutil.NoSuchProcess):
            init = None
        self._process.kill()
        if init is not None:
            psutil.wait_procs([init], timeout=60)
