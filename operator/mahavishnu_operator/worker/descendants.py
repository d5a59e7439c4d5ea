"""Every process below this one: found, measured and ended, however far it tried to get away.

The pressure: a tool may fork, start a new session, fork twice so that its child belongs to init, and hang.
A child subreaper gets such orphans instead of init, so nothing leaves the tree. What must stay true: after
`end_all` no descendant is left; only descendants are ever signalled.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import suppress

import psutil

_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 4, 36
_PAUSE_SECONDS = 0.005
STUCK_SECONDS = 20.0


class Stuck(Exception):
    """A process does not die: the kernel holds it (a dead disk or network mount)."""


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def become_subreaper() -> None:
    """Get the orphans of our descendants (Linux)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def hide_memory() -> None:
    """Keep other processes of this user from reading our memory: it holds the token."""
    _prctl(_PR_SET_DUMPABLE, 0)


def below(*, spare: Collection[int] = ()) -> Iterator[psutil.Process]:
    """All descendants of this process but those pids and what is below them. Zombies are among them."""
    left = [child for child in _children(psutil.Process()) if child.pid not in spare]
    while left:
        process = left.pop()
        yield process
        left.extend(_children(process))


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children()
    except psutil.NoSuchProcess:
        return []


def resident_bytes(*, spare: Collection[int] = ()) -> int:
    """Resident memory of all descendants together; pages they share are counted for each."""
    total = 0
    for process in below(spare=spare):
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total


def end_all(*, spare: Collection[int] = (), awaited: Collection[int] = ()) -> None:
    """Kill and reap every descendant but `spare`. Blocks for milliseconds; Stuck when one does not die.

    `awaited`: direct children that somebody else waits for (asyncio); they are killed and not reaped here.
    """
    deadline = time.monotonic() + STUCK_SECONDS
    while True:
        alive = 0
        for process in below(spare=spare):
            if _is_zombie(process):
                if process.pid not in awaited:
                    _reap(process.pid)
                continue
            alive += 1
            with suppress(ProcessLookupError, psutil.NoSuchProcess):
                os.kill(process.pid, signal.SIGKILL)
        if not alive:
            return
        if time.monotonic() > deadline:
            names = ", ".join(str(p.pid) for p in below(spare=spare))
            raise Stuck(f"processes {names} do not end after SIGKILL")
        time.sleep(_PAUSE_SECONDS)


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):  # not our own child: its parent dies in this same round
        os.waitpid(pid, os.WNOHANG)
