"""Keeps a tool within its own folder, by Landlock: what a process may do by itself to what it will start.

The pressure: all tools of a worker run as one user, so files and processes of one are open to the next: it could read
them, plant what the next one runs, or kill its neighbour. What must stay true: a confined tool writes below its own
scratch folder alone; of the folders that tools share it reads nothing but that and its source; it signals and looks
into no process but its own descendants. The kernel keeps to it for all that the tool starts. Where the kernel cannot,
`missing` says so and the tools of one worker are open to each other.
"""

from __future__ import annotations

import ctypes
import functools
import os
import stat
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION_FLAG, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE
_TRUNCATE = 1 << 14
_SCOPE_ABSTRACT_SOCKETS, _SCOPE_SIGNALS = 1, 2
LEAST_VERSION = 6  # Linux 6.12: the first that keeps signals in
# What programs expect to write to; what is in /dev/shm would stay for the next tool.
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    answer = int(_libc().syscall(number, *arguments))
    if answer < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return answer


@functools.cache
def missing() -> str:
    """Why tools cannot be confined on this machine; empty when they can."""
    try:
        version = _call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))
    except OSError as error:
        return f"this kernel has no Landlock, or a seccomp profile keeps it away: {error.strerror}"
    return "" if version >= LEAST_VERSION else f"this kernel has Landlock {version}, and {LEAST_VERSION} is needed"


@dataclass(frozen=True)
class Confinement:
    """`shared`: absolute folders whose contents are closed to a tool, but for what is opened to it."""

    shared: tuple[str, ...]

    def start(self, process: Callable[[], T], *, writable: str, readable: Sequence[str] = ()) -> T:
        """Start a process that is confined. OSError.

        A thread of its own is confined, and its child with it; the caller's process goes on as it is.
        """
        results: list[T] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                self._confine_this_thread(writable, readable)
                results.append(process())
            except BaseException as error:  # noqa: BLE001 (raised below, in the caller's thread)
                errors.append(error)

        thread = threading.Thread(target=run, name="confined")
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def _confine_this_thread(self, writable: str, readable: Sequence[str]) -> None:
        everything = (1 << 15) - 1  # all rights on files and folders of the versions up to 3
        attributes = struct.pack("=QQQ", everything, 0, _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS)
        ruleset = _call(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
        try:
            for folder in self._open_to_all("/"):
                _allow(ruleset, folder, _READ)
            for device in _DEVICES:
                _allow(ruleset, f"/dev/{device}", _WRITE_FILE | _READ_FILE | _TRUNCATE)
            for folder in readable:
                _allow(ruleset, folder, _READ)
            _allow(ruleset, writable, everything)
            _call(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
        finally:
            os.close(ruleset)

    def _open_to_all(self, folder: str) -> Iterator[str]:
        """The largest parts of the tree that hold no shared folder; where a link leads to is opened for itself."""
        for entry in os.scandir(folder):
            if entry.is_symlink():
                continue
            inside = [each for each in self.shared if each == entry.path or each.startswith(f"{entry.path}/")]
            if not inside:
                yield entry.path
            elif entry.path not in inside:
                yield from self._open_to_all(entry.path)


def _allow(ruleset: int, path: str, rights: int) -> None:
    """One rule; for a path that is not there, none."""
    with suppress(FileNotFoundError), _opened(path) as descriptor:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_FILES | _TRUNCATE
        rule = struct.pack("=Qi", rights, descriptor)
        _call(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint32(0))


@contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
