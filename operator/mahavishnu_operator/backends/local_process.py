"""Backend local-process: worker agents as child processes of this one.

The pressure: a worker must never outlive the process that started it (nobody would stop it, and its tasks would
run twice), and never learn its token from an argument list or an environment that others can read. So each agent
holds the other end of a pipe: its first line is the configuration, its end is our death. What must stay true: a
worker is known from the moment it is being started; one that ended by itself is FAILED until `remove`; one that was
asked to stop just goes; each end is reported once.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from mahavishnu_operator.resources.protocol import Key

from .local_files import WorkerFiles, config_line, reap_previous
from .protocol import BackendError, ObservedWorker, PoolTemplate, WorkerPhase

log = structlog.get_logger(__name__)

KILL_MARGIN_SECONDS = 5.0  # after the grace, for an agent that hands its leases back
TRIM_SECONDS = 30.0  # how often logs are cut to their bound
AGENT = (sys.executable, "-P", "-m", "mahavishnu_operator.worker")

IssueToken = Callable[[str, str], Awaitable[str]]
OnExit = Callable[[Key, str, str], Awaitable[None]]


@dataclass
class _Worker:
    """One child: its process once there is one, what was asked of it, and how it ended."""

    pool: Key
    name: str
    revision: str
    grace_seconds: float
    files: WorkerFiles
    started_at: float
    process: asyncio.subprocess.Process | None = None
    stopping: bool = False
    ended_at: float | None = None
    message: str = ""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    kill_at: asyncio.TimerHandle | None = None

    @property
    def phase(self) -> WorkerPhase:
        """Where it stands."""
        if self.ended_at is not None:
            return WorkerPhase.FAILED
        if self.stopping:
            return WorkerPhase.STOPPING
        return WorkerPhase.RUNNING if self.process is not None else WorkerPhase.STARTING


class LocalProcessBackend:
    """Workers as child processes; see backends.protocol.Backend.

    `issue_token(pool, worker)` makes a worker's secret; `on_exit(pool, worker, message)` is awaited when one ended.
    """

    name = "local-process"
    installation = ""

    def __init__(
        self,
        folder: Path,
        *,
        server: str,
        issue_token: IssueToken,
        on_exit: OnExit,
        log_level: str = "info",
        git_ca: str = "",
        shutdown_seconds: float = 10.0,
        command: Sequence[str] | None = None,
    ) -> None:
        self._folder, self._server, self._issue_token, self._on_exit = folder, server, issue_token, on_exit
        self._log_level, self._shutdown_seconds, self._command = log_level, shutdown_seconds, tuple(command or AGENT)
        self._git_ca = git_ca
        self._workers: dict[tuple[Key, str], _Worker] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    async def open(self) -> list[tuple[Key, str]]:
        """Make sure that the workers of an earlier process on this folder are dead; which they were."""
        gone = await reap_previous(self._folder)
        self._spawn(self._keep_trimming())
        return gone

    async def observe(self, pool: Key) -> list[ObservedWorker]:
        """The workers of a pool, dead ones too until `remove`."""
        return [
            ObservedWorker(
                name=w.name,
                phase=w.phase,
                revision=w.revision,
                started_at=w.started_at,
                message=w.message,
                ended_at=w.ended_at,
            )
            for w in self._workers.values()
            if w.pool == pool
        ]

    async def prepare(self, template: PoolTemplate) -> None:
        """Nothing stands around processes."""

    async def start(self, template: PoolTemplate, worker: str) -> None:
        """Start one agent. BackendError when the process cannot be made."""
        key = (template.key, worker)
        if key in self._workers:
            return
        if self._closing:
            raise BackendError(f"worker {worker} of pool {template.key} is not started: this process is stopping")
        grace = float((template.spec.get("drain") or {}).get("graceSeconds", 60))
        files = WorkerFiles.of(self._folder, template.key, worker)
        record = _Worker(template.key, worker, template.revision, grace, files, started_at=time.time())
        self._workers[key] = record
        try:
            await self._launch(record, template.slots)
        except BaseException as error:
            if record.process is None:
                await self._drop(record)
            else:
                _signal(record.process, signal.SIGKILL)  # `_watch` reports its end
            if isinstance(error, OSError):
                raise BackendError(
                    f"worker {worker} of pool {template.key} could not be started: {error.strerror or error}",
                    hint="look at the limits on processes, memory and disk of this machine",
                ) from error
            raise

    async def _launch(self, worker: _Worker, slots: int) -> None:
        worker.files.make()
        token = await self._issue_token(str(worker.pool), worker.name)
        line = config_line(
            server=self._server,
            token=token,
            pool=worker.pool,
            worker=worker.name,
            slots=slots,
            files=worker.files,
            grace_seconds=worker.grace_seconds,
            log_level=self._log_level,
            git_ca=self._git_ca,
        )
        with worker.files.open_log() as stderr:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=stderr,
                cwd=worker.files.work,
                env=_environment(),
                start_new_session=True,
            )
        worker.process = process
        self._spawn(self._watch(worker, process))
        worker.files.write_pid(process.pid)
        if process.stdin is None:
            raise BackendError(f"worker {worker.name} has no pipe to be configured by")
        if worker.stopping:
            _signal(process, signal.SIGTERM)
            self._kill_after(worker, worker.grace_seconds + KILL_MARGIN_SECONDS)
        process.stdin.write(line)
        try:
            await process.stdin.drain()
        except ConnectionError:
            log.debug("a worker ended before it was configured", worker=worker.name)  # `_watch` says how

    async def _watch(self, worker: _Worker, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        if worker.kill_at is not None:
            worker.kill_at.cancel()
        last_words = worker.files.last_words()
        how = f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        worker.message = f"{how}: {last_words}" if last_words else how
        worker.files.pid.unlink(missing_ok=True)
        if worker.stopping:
            await self._drop(worker)
        else:
            worker.ended_at = time.time()
            log.warning("a worker ended by itself", pool=str(worker.pool), worker=worker.name, how=worker.message)
        worker.gone.set()
        await self._on_exit(worker.pool, worker.name, worker.message)

    async def stop(self, pool: Key, worker: str, *, grace_seconds: float) -> None:
        """SIGTERM now, SIGKILL after the grace and a margin. Returns at once; asking again may shorten the wait."""
        record = self._workers.get((pool, worker))
        if record is None or record.ended_at is not None:
            return
        first = not record.stopping
        record.stopping = True
        if record.process is None:
            return
        if first:
            _signal(record.process, signal.SIGTERM)
        self._kill_after(record, grace_seconds + KILL_MARGIN_SECONDS)

    def _kill_after(self, worker: _Worker, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if worker.process is None or (worker.kill_at is not None and worker.kill_at.when() <= loop.time() + seconds):
            return
        if worker.kill_at is not None:
            worker.kill_at.cancel()
        worker.kill_at = loop.call_later(seconds, _signal, worker.process, signal.SIGKILL)

    async def remove(self, pool: Key, worker: str) -> None:
        """Forget a worker that ended."""
        record = self._workers.get((pool, worker))
        if record is not None and record.ended_at is not None:
            await self._drop(record)

    async def _drop(self, worker: _Worker) -> None:
        """Forget it, and remove its files in a thread: a tool may have left a hundred thousand of them."""
        self._workers.pop((worker.pool, worker.name), None)
        await asyncio.to_thread(shutil.rmtree, worker.files.folder, ignore_errors=True)

    async def close(self) -> None:
        """Stop all: SIGTERM, their grace (bounded by `shutdown_seconds`), the end of their pipe, SIGKILL."""
        self._closing = True
        alive = [w for w in self._workers.values() if w.process is not None and w.ended_at is None]
        for worker in alive:
            await self.stop(worker.pool, worker.name, grace_seconds=worker.grace_seconds)
        longest = max((w.grace_seconds for w in alive), default=0.0)
        await self._wait_gone(alive, min(longest + 1.0, self._shutdown_seconds))
        for worker in alive:
            if worker.process is not None and worker.process.stdin is not None:
                worker.process.stdin.close()
        await self._wait_gone(alive, 2.0)
        for worker in alive:
            if worker.process is not None and not worker.gone.is_set():
                _signal(worker.process, signal.SIGKILL)
        await self._wait_gone(alive, 5.0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._workers.clear()

    async def _wait_gone(self, workers: Sequence[_Worker], seconds: float) -> None:
        waits = [asyncio.ensure_future(w.gone.wait()) for w in workers if not w.gone.is_set()]
        if waits:
            _, late = await asyncio.wait(waits, timeout=seconds)
            for wait in late:
                wait.cancel()

    async def _keep_trimming(self) -> None:
        while True:
            await asyncio.sleep(TRIM_SECONDS)
            for worker in list(self._workers.values()):
                worker.files.trim_log()

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("watching a worker failed", exc_info=task.exception())


def _environment() -> dict[str, str]:
    """What an agent needs of our environment; whatever else is there (credentials of the operator) stays here."""
    names = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "LOGNAME")
    return {name: os.environ[name] for name in names if name in os.environ}


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Send a signal to a child that may have ended a moment ago."""
    if process.returncode is None:
        try:
            process.send_signal(number)
        except ProcessLookupError:
            log.debug("a worker ended before a signal reached it", pid=process.pid, signal=number.name)
