"""The run behind `mahavishnu scan`: the whole engine for one ScanJob, in a folder that is thrown away.

The pressure: this is how people meet the program, and what CI falls back to, so it must take the same path
as a cluster (a WorkerPool, a ScanJob, leases, results) and leave nothing behind. What must stay true: on
Ctrl-C the job is cancelled, every child is stopped, and what was done is said, however early it comes; a
second Ctrl-C does not wait for the report.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mahavishnu_operator.api.reasons import API_VERSION, Level
from mahavishnu_operator.control.embedded import EmbeddedEngine
from mahavishnu_operator.control.engine import EngineOptions
from mahavishnu_operator.dispatch.protocol import JobProgress
from mahavishnu_operator.resources.protocol import SCAN_JOB, WORKER_POOL, Key, Obj
from mahavishnu_operator.support.errors import MahavishnuError
from mahavishnu_operator.support.text import counted, printable

from .exits import ExitCode
from .outcome import Shown, exit_code_of_signal, listen_for_signals, show_outcome
from .output import OutputFormat, say
from .progress import Progress, make_progress
from .staffing import all_workers, first_workers

POOL = Key("default", "local")
JOB = Key("default", "scan")
CANCEL_SECONDS = 10.0  # how long a first Ctrl-C waits for tools to stop and the partial report


@dataclass(frozen=True)
class ScanRequest:
    """What was asked for on the command line, checked."""

    root: Path
    tools: tuple[str, ...]
    workers: int
    fail_on: Level
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    timeout_seconds: int
    sarif: Path | None
    form: OutputFormat


def pool_manifest(request: ScanRequest, *, workers: int) -> Obj:
    """The WorkerPool of a local scan, with so many workers to begin with."""
    spec = {
        "backend": "local-process",
        "minWorkers": 0,
        "maxWorkers": request.workers,
        "replicas": workers,
        "drain": {"graceSeconds": 0},  # nothing is worth waiting for once the job has ended
    }
    return _object("WorkerPool", POOL, spec)


def job_manifest(request: ScanRequest) -> Obj:
    """The ScanJob of a local scan."""
    scan: dict[str, Any] = {"tools": list(request.tools), "failOn": request.fail_on.value}
    if request.include:
        scan["include"] = list(request.include)
    if request.exclude:
        scan["exclude"] = list(request.exclude)
    spec = {
        "poolRef": {"name": POOL.name},
        "source": {"path": str(request.root)},
        "scan": scan,
        "timeoutSeconds": request.timeout_seconds,
        "taskTimeoutSeconds": min(request.timeout_seconds, 600),
    }
    return _object("ScanJob", JOB, spec)


def _object(kind: str, key: Key, spec: dict[str, Any]) -> Obj:
    metadata = {"name": key.name, "namespace": key.namespace}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


async def run_local_scan(request: ScanRequest) -> ExitCode:
    """Run it and print the report; the exit code."""
    begun = time.monotonic()
    signals = listen_for_signals()
    with tempfile.TemporaryDirectory(prefix="mahavishnu-scan-", ignore_cleanup_errors=True) as folder:
        options = EngineOptions(data_dir=Path(folder), dispatch_port=0, enable_local_process=True, path_roots=None)
        async with EmbeddedEngine(options) as engine:
            if not signals.empty():
                say("interrupted before anything was started")
                return exit_code_of_signal(signals.get_nowait())
            crew = Crew(request)
            await engine.resources.create(WORKER_POOL, pool_manifest(request, workers=crew.first))
            await engine.resources.create(SCAN_JOB, job_manifest(request))
            with make_progress(_headline(request)) as progress:
                job, interrupt = await _wait(engine, progress, crew, signals)
            log = await engine.report(job["metadata"]["uid"])
            code = show_outcome(
                job.get("status") or {},
                None
                if log is None
                else Shown(log.reports, log.sarif, log.plan.skipped if log.plan is not None else ()),
                form=request.form,
                sarif=request.sarif,
                interrupt=interrupt,
                seconds=time.monotonic() - begun,
            )
        if interrupt is not None:
            say("all children have been stopped")
        return code


def _headline(request: ScanRequest) -> str:
    at_most = "up to " if request.workers > 1 else ""
    return f"scanning {printable(str(request.root))} with {at_most}{counted(request.workers, 'worker')}"


class Crew:
    """The workers of a scan: a few at first, as many as are of use once the plan is known."""

    def __init__(self, request: ScanRequest) -> None:
        self._most = request.workers
        self.first = first_workers(request.root, tools=len(request.tools), most=request.workers)
        self._tasks: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def hear(self, progress: JobProgress) -> None:
        """Take in how the job stands; its first task is the plan."""
        if progress.total > 1 and not self._tasks.done():
            self._tasks.set_result(progress.total - 1)

    async def grow(self, engine: EmbeddedEngine) -> None:
        """Wait for the plan, and have more workers started if it has tasks for them."""
        wanted = all_workers(tasks=await self._tasks, most=self._most)
        if wanted > self.first:
            await engine.resources.scale(WORKER_POOL, POOL, wanted)


async def _wait(
    engine: EmbeddedEngine, progress: Progress, crew: Crew, signals: asyncio.Queue[signal.Signals]
) -> tuple[Obj, signal.Signals | None]:
    """The job at its end, and the signal if a person ended it."""

    def show(now: JobProgress) -> None:
        progress.show(now)
        crew.hear(now)

    ending = asyncio.create_task(engine.wait_terminal(JOB, on_progress=show))
    failing = asyncio.create_task(_grow_until_failure(engine, crew))
    pressed = asyncio.create_task(signals.get())
    try:
        await asyncio.wait({ending, failing, pressed}, return_when=asyncio.FIRST_COMPLETED)
        if failing.done():
            failing.result()
        if ending.done():
            return ending.result(), None
        progress.interrupted()
        await engine.resources.merge(SCAN_JOB, JOB, {"spec": {"cancel": True}})
        again = asyncio.create_task(signals.get())
        await asyncio.wait({ending, failing, again}, timeout=CANCEL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        again.cancel()
        return (ending.result() if ending.done() else await engine.resources.get(SCAN_JOB, JOB)), pressed.result()
    finally:
        for task in (ending, failing, pressed):
            task.cancel()
            with suppress(asyncio.CancelledError, MahavishnuError):
                await task


async def _grow_until_failure(engine: EmbeddedEngine, crew: Crew) -> None:
    await asyncio.gather(engine.failed(), crew.grow(engine))
