"""What backend local-process keeps on disk for each worker: its folder, its log, and who it is.

The pressure: a parent killed with -9 cannot say which children it had. So each child is written down by pid and start
time (a pid alone may belong to somebody else by then), and the next process on the same folder makes sure that they
are gone before it gives their tasks to others. What must stay true: nothing is killed unless pid and start time both
match; a log is bounded.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import psutil
import structlog

from mahavishnu_operator.resources.protocol import Key

log = structlog.get_logger(__name__)

LOG_LIMIT_BYTES = 1024 * 1024
TAIL_BYTES = 4096
LAST_WORDS = 512  # characters of the log's end in a message
LEAVE_SECONDS = 2.0  # how long earlier workers get to notice that their parent has gone


@dataclass(frozen=True)
class WorkerFiles:
    """The folder of one worker: agent.log, agent.pid and work/ (its working directory and scratch space)."""

    folder: Path

    @classmethod
    def of(cls, root: Path, pool: Key, worker: str) -> WorkerFiles:
        """The files of a worker. ValueError for a name that would lead elsewhere."""
        for part in (pool.namespace, pool.name, worker):
            if "/" in part or part in ("", ".", ".."):
                raise ValueError(f"not a name: {part!r}")
        return cls(root / pool.namespace / pool.name / worker)

    @property
    def work(self) -> Path:
        """Where the agent and its scratch space live."""
        return self.folder / "work"

    @property
    def log(self) -> Path:
        """What the agent says on stderr."""
        return self.folder / "agent.log"

    @property
    def pid(self) -> Path:
        """Pid and start of the agent, while it runs."""
        return self.folder / "agent.pid"

    def make(self) -> None:
        """The folder, for us alone."""
        self.work.mkdir(parents=True, exist_ok=True, mode=0o700)

    def open_log(self) -> BinaryIO:
        """For appending, so that it can be cut while it is written."""
        return open(self.log, "ab", buffering=0)

    def write_pid(self, pid: int) -> None:
        """Say who the agent is; a child that ended already is not written down."""
        try:
            started = _start_of(pid)
        except (FileNotFoundError, ProcessLookupError):
            return
        self.pid.write_text(json.dumps({"pid": pid, "started": started}))

    def last_words(self) -> str:
        """The end of the log on one line; '' when there is none."""
        try:
            with open(self.log, "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
                lines = file.read().decode("utf-8", "replace").strip().splitlines()
        except FileNotFoundError:
            return ""
        return " | ".join(line.strip() for line in lines[-3:])[-LAST_WORDS:]

    def trim_log(self) -> None:
        """Cut the log to its second half once it is over the limit."""
        try:
            if self.log.stat().st_size <= LOG_LIMIT_BYTES:
                return
            with open(self.log, "r+b") as file:
                file.seek(-LOG_LIMIT_BYTES // 2, os.SEEK_END)
                kept = file.read()
                file.truncate(0)
            with open(self.log, "ab") as file:
                file.write(b"[the beginning was cut]\n" + kept)
        except FileNotFoundError:
            return


def config_line(
    *,
    server: str,
    token: str,
    pool: Key,
    worker: str,
    slots: int,
    files: WorkerFiles,
    grace_seconds: float,
    log_level: str,
    git_ca: str = "",
) -> bytes:
    """The first line that an agent reads from its stdin (worker.config.WorkerConfig)."""
    config = {
        "server": server,
        "token": token,
        "pool": str(pool),
        "worker": worker,
        "slots": slots,
        "workDir": str(files.work.resolve()),
        "graceSeconds": grace_seconds,
        "logLevel": log_level,
        "gitCaPem": git_ca,
    }
    return json.dumps(config, separators=(",", ":")).encode() + b"\n"


async def reap_previous(root: Path) -> list[tuple[Key, str]]:
    """Wait for the workers that an earlier process left on this folder, kill those that stay, clear up after all."""
    found = await asyncio.to_thread(_folders, root)
    alive = [process for folder in found if (process := _same_process(WorkerFiles(folder).pid)) is not None]
    if alive:
        _, late = await asyncio.to_thread(psutil.wait_procs, alive, timeout=LEAVE_SECONDS)
        for process in late:
            log.warning("a worker of an earlier process did not leave; killing it", pid=process.pid)
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        await asyncio.to_thread(psutil.wait_procs, late, timeout=LEAVE_SECONDS)
    await asyncio.to_thread(_remove, found)
    return [(Key(folder.parent.parent.name, folder.parent.name), folder.name) for folder in found]


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("*/*/*") if path.is_dir())


def _remove(folders: Sequence[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _start_of(pid: int) -> str:
    """Which process has that number: the boot, and the clock ticks since then, which no step of a clock changes.

    FileNotFoundError or ProcessLookupError: none has.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    ticks = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19]  # field 22, proc(5)
    return f"{boot}/{int(ticks)}"


def _same_process(pid_file: Path) -> psutil.Process | None:
    """The process that the file names, if it still is that very one."""
    try:
        entry = json.loads(pid_file.read_text())
        process = psutil.Process(int(entry["pid"]))
        if entry["started"] != _start_of(process.pid):
            return None
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    except (FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):
        return None
    except (ValueError, KeyError, TypeError):
        log.warning("a pid file cannot be read; its worker ends by itself when its pipe does", file=str(pid_file))
        return None
