"""The run behind `mahavishnu scan`: the whole engine for one ScanJob, in a folder that is thrown away.

The pressure: this is how people meet the program, and what CI falls back to, so it must take the same path
as a cluster (a WorkerPool, a ScanJob, leases, results) and leave nothing behind. What must stay true: on
Ctrl-C the job is cancelled, every child is stopped, and what was done is said, however early it comes; a
second Ctrl-C does not wait for the report.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mahavishnu_operator.api.reasons import API_VERSION, Level, Verdict
from mahavishnu_operator.control.embedded import EmbeddedEngine
from mahavishnu_operator.control.engine import EngineOptions
from mahavishnu_operator.resources.protocol import SCAN_JOB, WORKER_POOL, Key, Obj
from mahavishnu_operator.support.errors import InvalidInput, MahavishnuError
from mahavishnu_operator.support.text import printable

from .exits import ExitCode
from .output import say
from .progress import Progress, make_progress

if TYPE_CHECKING:
    from mahavishnu_operator.scan.model import Plan

POOL = Key("default", "local")
JOB = Key("default", "scan")
CANCEL_SECONDS = 10.0  # how long a first Ctrl-C waits for tools to stop and the partial report
MAX_LEFT_OUT = 5  # named one by one after the report


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
    as_json: bool


def pool_manifest(request: ScanRequest) -> Obj:
    """The WorkerPool of a local scan."""
    spec = {
        "backend": "local-process",
        "minWorkers": 0,
        "maxWorkers": request.workers,
        "replicas": request.workers,
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
    signals = _listen()
    with tempfile.TemporaryDirectory(prefix="mahavishnu-scan-", ignore_cleanup_errors=True) as folder:
        options = EngineOptions(data_dir=Path(folder), dispatch_port=0, enable_local_process=True, path_roots=None)
        async with EmbeddedEngine(options) as engine:
            if not signals.empty():
                say("interrupted before anything was started")
                return _exit_code_of_signal(signals.get_nowait())
            await engine.resources.create(WORKER_POOL, pool_manifest(request))
            await engine.resources.create(SCAN_JOB, job_manifest(request))
            with make_progress(request.root, request.workers) as progress:
                job, interrupt = await _wait(engine, progress, signals)
            code = await _report(engine, request, job, interrupt=interrupt, seconds=time.monotonic() - begun)
        if interrupt is not None:
            say("all children have been stopped")
        return code


def _listen() -> asyncio.Queue[signal.Signals]:
    """The signals that end a scan, from now on."""
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, signals.put_nowait, number)
    return signals


def _exit_code_of_signal(number: signal.Signals) -> ExitCode:
    return ExitCode.INTERRUPTED if number is signal.SIGINT else ExitCode.TERMINATED


async def _wait(
    engine: EmbeddedEngine, progress: Progress, signals: asyncio.Queue[signal.Signals]
) -> tuple[Obj, signal.Signals | None]:
    """The job at its end, and the signal if a person ended it."""
    ending = asyncio.create_task(engine.wait_terminal(JOB, on_progress=progress.show))
    failing = asyncio.create_task(engine.failed())
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


async def _report(
    engine: EmbeddedEngine, request: ScanRequest, job: Obj, *, interrupt: signal.Signals | None, seconds: float
) -> ExitCode:
    """Print what there is and say how it went."""
    from mahavishnu_operator.scan.terminal import print_report

    status = job.get("status") or {}
    refused = next(
        (c for c in status.get("conditions", []) if c["type"] == "Accepted" and c["status"] == "False"), None
    )
    if refused:
        raise InvalidInput(refused["message"])
    log = await engine.report(job["metadata"]["uid"])
    if request.as_json:
        print(json.dumps({"verdict": status.get("verdict"), "seconds": round(seconds, 3), **_as_json(log, status)}))
    elif log is not None:
        print_report(log.reports, seconds=seconds, stream=sys.stdout)
    if log is not None and request.sarif is not None:  # after it was shown: a full disk must not cost the whole answer
        sys.stdout.flush()
        _write(request.sarif, log.sarif)
    if log is not None and log.plan is not None:
        _say_what_was_left_out(log.plan)
    if interrupt is not None:
        tasks = status.get("tasks") or {}
        done = f"{tasks.get('succeeded', 0)} of {tasks.get('total', 0)} tasks were done"
        say(f"interrupted: {done if tasks.get('total') else 'no task had begun'}")
        return _exit_code_of_signal(interrupt)
    for condition in status.get("conditions", []):
        if condition["type"] == "Failed" and condition["status"] == "True":
            say(f"incomplete: {condition['message']}")
    return exit_code(Verdict(status.get("verdict", "Pending")))


def _say_what_was_left_out(plan: Plan) -> None:
    """No finding in a file that nobody opened is no good news: name those files."""
    for each in plan.skipped[:MAX_LEFT_OUT]:
        say(f"left out: {printable(each.path)}: {printable(each.reason)}")
    if len(plan.skipped) > MAX_LEFT_OUT:
        say(f"and {len(plan.skipped) - MAX_LEFT_OUT} more left out; the SARIF report names all")


def exit_code(verdict: Verdict) -> ExitCode:
    """Findings over the limit outrank tools that did not look: both fail a gate, the former says more."""
    match verdict:
        case Verdict.PASSED:
            return ExitCode.OK
        case Verdict.FAILED:
            return ExitCode.FINDINGS
        case _:
            return ExitCode.INCOMPLETE


def _as_json(log: Any, status: Obj) -> dict[str, Any]:
    return {
        "tasks": status.get("tasks"),
        "findings": status.get("findings"),
        "sarif": json.loads(log.sarif) if log else None,
    }


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise InvalidInput(f"cannot write the report to {path}: {error.strerror}") from None
