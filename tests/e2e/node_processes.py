"""The processes of Pods on the node, which are processes of this machine too: seen from outside by their cgroup."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from mahavishnu_operator.resources.protocol import Obj

PAUSE = "/pause"
_GONE = (FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess)


def processes_of(*pods: Obj) -> list[psutil.Process]:
    """Those of the containers of these Pods, oldest first; not the one that holds a Pod's namespaces."""
    marks = [f"pod{pod['metadata']['uid']}/" for pod in pods]
    return [process for process, cgroup in _cgroups() if any(mark in cgroup for mark in marks)]


def _cgroups() -> Iterator[tuple[psutil.Process, str]]:
    for pid in sorted(map(int, filter(str.isdecimal, os.listdir("/proc")))):
        with suppress(*_GONE):
            cgroup = Path(f"/proc/{pid}/cgroup").read_text()
            if "/pod" in cgroup and Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0].decode() != PAUSE:
                yield psutil.Process(pid), cgroup
