"""Every process below this one: found, measured and ended, however far it tried to get away.

The pressure: a tool may fork, start a new session, fork twice so that its child belongs to init, fork faster than
it is looked for, and hang. A child subreaper gets such orphans instead of init, so nothing leaves the tree; and a
signal to a process group reaches also those that are being forked at that moment. What must stay true: after
`end_all` no descendant is left; only descendants are ever signalled, and of those none that was there before somebody
else's program called on us. Linux only.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 4, 36, 38
_GONE = (FileNotFoundError, ProcessLookupError)
_HAS_CHILD_FILES = Path("/proc/thread-self/children").exists()
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PAUSE_SECONDS = 0.002
_QUIET_ROUNDS = 3  # with spared children the kernel cannot say "none left": look again before believing it
STUCK_SECONDS = 20.0

_spared: frozenset[int] = frozenset()


class Stuck(Exception):
    """A process does not die: the kernel holds it (a dead disk or network mount)."""


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def become_subreaper() -> None:
    """Get the orphans of our descendants."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def hide_memory() -> None:
    """Keep other processes of this user from reading our memory and our open files."""
    _prctl(_PR_SET_DUMPABLE, 0)


def give_up_new_privileges() -> None:
    """No descendant becomes another user by a setuid program: a process of root could not be ended by us."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


@contextmanager
def spare_children() -> Iterator[None]:
    """Meanwhile the children that this process has now are none of ours: it is a program that uses these modules."""
    global _spared
    before, _spared = _spared, frozenset(children_of(os.getpid()))
    try:
        yield
    finally:
        _spared = before


def children_of(pid: int) -> list[int]:
    """Direct children, zombies too; [] when there is no such process."""
    if not _HAS_CHILD_FILES:  # a kernel without CONFIG_PROC_CHILDREN: read the parent of every process instead
        return _children_by_parent(pid)
    found: list[int] = []
    with suppress(*_GONE):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(*_GONE):
                found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    return found


def _children_by_parent(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.NoSuchProcess:
        return []


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def below(*, spare: Collection[int] = ()) -> Iterator[int]:
    """All descendants of this process but those pids and what is below them. Zombies are among them."""
    left = [pid for pid in children_of(os.getpid()) if pid not in spare and pid not in _spared]
    while left:
        pid = left.pop()
        yield pid
        left.extend(children_of(pid))


def resident_bytes() -> int:
    """Resident memory of all descendants together; pages they share are counted for each."""
    total = 0
    for pid in below():
        with suppress(*_GONE):
            total += int(_read(f"/proc/{pid}/statm").split()[1]) * _PAGE_BYTES
    return total


def has_children() -> bool:
    """Whether this process has any child; for a subreaper: any descendant. One call, no race."""
    if _spared:
        return any(pid not in _spared for pid in children_of(os.getpid()))
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def has_ended(pid: int) -> bool:
    """Whether this child is dead, reaped or not."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def end_all(*, spare: Collection[int] = ()) -> None:
    """Kill and reap every descendant but `spare`. Blocks for milliseconds; Stuck when one does not die."""
    deadline = time.monotonic() + STUCK_SECONDS
    quiet = 0
    while has_children():
        alive = [pid for pid in below(spare=spare) if not _reaped(pid)]
        for pid in alive:
            _kill(pid, spare)
        quiet = 0 if alive else quiet + 1
        if spare and quiet == _QUIET_ROUNDS:
            return
        if time.monotonic() > deadline:
            raise Stuck(f"processes {', '.join(map(str, alive))} do not end after SIGKILL")
        time.sleep(_PAUSE_SECONDS)


def _reaped(pid: int) -> bool:
    """Whether this process is dead; a dead child of ours is reaped, another's is left to its dying parent."""
    try:
        state = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[0]
    except _GONE:
        return True
    if state not in (b"Z", b"X"):
        return False
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return True


def _kill(pid: int, spare: Collection[int]) -> None:
    with suppress(ProcessLookupError):
        group = os.getpgid(pid)
        if group != os.getpgrp() and group not in spare:
            os.killpg(group, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
