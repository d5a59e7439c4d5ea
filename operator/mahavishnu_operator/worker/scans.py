"""Executors of plan and scan tasks, in the runner.

What a hostile tree or tool says is listed and parsed here, far from the token. What must stay true: a scan that
has no answer still says so in a ToolReport, so that a tool that did not look is never taken for a clean one.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from mahavishnu_operator.api.wire import PlanTask, ResultStatus, ScanTask
from mahavishnu_operator.scan import readable
from mahavishnu_operator.scan.listing import list_files, set_aside_links
from mahavishnu_operator.scan.model import Outcome, ToolReport, Unread, encode
from mahavishnu_operator.scan.planner import make_plan
from mahavishnu_operator.scan.tools import going_on
from mahavishnu_operator.scan.tools.common import read_regular
from mahavishnu_operator.scan.tools.protocol import Tool, ToolOutput
from mahavishnu_operator.scan.tools.registry import find_tools, install_hint
from mahavishnu_operator.support.errors import InvalidInput

from .bounded import OutOfTime, in_thread
from .commands import done_of, refuse_start, signal_name, stopped
from .confining import Confinement
from .git_words import Failed
from .messages import Done
from .sources import Files, Preparing
from .supervising import Ended, Limits, StoppedBy, supervise
from .surroundings import find_program, tool_environment

T = TypeVar("T")
VERSION_SECONDS = 30.0
VERSION_BYTES = 65_536
_OUTCOMES: dict[StoppedBy, Outcome] = {"TimedOut": "timed-out", "Cancelled": "cancelled"}
_versions: dict[str, str] = {}  # a runner's tools do not change under it


async def run_plan(
    spec: PlanTask,
    *,
    put: Callable[[bytes], str],
    timeout_seconds: float,
    cancel: asyncio.Future[None],
    preparing: Preparing | None = None,
) -> Done:
    """List the files and cut them into shards; `put` takes each list and answers its digest."""
    begun = time.monotonic()
    files = Files(spec.root, None)

    def plan() -> str:
        tools = find_tools(spec.tools)
        root = Path(files.root)
        listing = list_files(root, include=spec.include, exclude=spec.exclude, unpacked=files.unpacked)
        made = make_plan(listing, tools, bins=spec.bins, chunk_size=spec.chunk_size, put=put)
        return encode(replace(made, origin=files.origin))

    refusal = refuse_root(spec.root) if preparing is None else None
    if refusal is not None:
        return refusal
    try:
        if preparing is not None:
            files = await preparing.run(spec)
        left = timeout_seconds - (time.monotonic() - begun)
        payload = await in_thread(plan, seconds=left, cancel=cancel)
    except Failed as failed:
        return Done(failed.status, failed.reason, failed.message)
    except InvalidInput as error:
        return Done("refused", "PlanRefused", str(error))
    except OutOfTime as over:
        status, words = stopped(over.stopped_by, what="listing the files", timeout_seconds=timeout_seconds)
        return Done(status, over.stopped_by, words, last=True)
    return Done("succeeded", "Completed", duration_seconds=time.monotonic() - begun, payload=payload)


def refuse_root(root: str) -> Done | None:
    """Why this folder cannot be scanned, if so."""
    if not os.path.isdir(root):
        return Done("refused", "SourceUnreadable", f"source.path {root} is not a folder on the worker's machine")
    if not os.access(root, os.R_OK | os.X_OK):
        return Done("refused", "SourceUnreadable", f"source.path {root} cannot be read by the worker")
    if os.path.realpath(root) != os.path.normpath(root):  # links were followed, and judged, when the job was accepted
        words = f"source.path {root} has become a symbolic link, or lies behind one, since the job was accepted"
        return Done("refused", "SourceUnreadable", words)
    return None


async def run_scan(
    spec: ScanTask,
    *,
    files: bytes,
    timeout_seconds: float,
    scratch: Path,
    cancel: asyncio.Future[None],
    confinement: Confinement | None = None,
    preparing: Preparing | None = None,
) -> Done:
    """Run one tool over its files and parse what it says."""
    begun = time.monotonic()
    refusal = refuse_root(spec.root) if preparing is None else None
    if refusal is not None:
        return refusal
    try:
        if preparing is not None:
            spec = msgspec.structs.replace(spec, root=(await preparing.run(spec)).root)
            timeout_seconds = max(0.0, timeout_seconds - (time.monotonic() - begun))
        (tool,) = find_tools([spec.tool])
    except Failed as failed:
        return Done(failed.status, failed.reason, failed.message)
    except OutOfTime as over:
        status, words = stopped(over.stopped_by, what="getting the files", timeout_seconds=timeout_seconds)
        return Done(status, over.stopped_by, words, last=True)
    except InvalidInput as error:
        return Done("refused", "UnknownTool", str(error))
    names = [os.fsdecode(name) for name in files.split(b"\0") if name]
    return await _Scan(tool, spec, names, scratch, timeout_seconds, cancel, confinement).run()


class _Scan:
    """One tool over one bin of files."""

    def __init__(
        self,
        tool: Tool,
        spec: ScanTask,
        names: list[str],
        scratch: Path,
        timeout_seconds: float,
        cancel: asyncio.Future[None],
        confinement: Confinement | None,
    ) -> None:
        self._tool, self._spec, self._names, self._scratch, self._cancel = tool, spec, names, scratch, cancel
        self._confinement = confinement
        self._timeout_seconds, self._ends_at = timeout_seconds, time.monotonic() + timeout_seconds
        self._version = ""

    async def run(self) -> Done:
        """The report of the tool, or of its absence."""
        try:
            return await self._scan()
        except _NoAnswer as none:
            return none.done
        except OutOfTime as over:
            return msgspec.structs.replace(self._stopped(over.stopped_by).done, last=True)

    async def _scan(self) -> Done:
        """Run it, and again without the files at which it stopped."""
        tool, root = self._tool, Path(self._spec.root)
        self._version = await self._find_version()
        kept, links = await self._in_thread(partial(set_aside_links, root, self._names))
        run = going_on.Run(kept, set_aside=links)
        if links and not kept:
            report = going_on.nothing_left(tool, run, version=self._version)
            return Done("succeeded", "Completed", payload=encode(report))
        while True:
            ended, output = await self._run_tool(run.files)
            blockers = await self._in_thread(partial(going_on.blockers, tool, run, output, root=root))
            if not blockers:
                break
            unreadable = await self._find_unreadable(run.files) if run.number == 1 else ()
            run = run.after(output, (*blockers, *unreadable))
            if not run.files:
                return self._done(ended, going_on.nothing_left(tool, run, version=self._version))
        parse = partial(going_on.report_of, tool, run, output, root=root, version=self._version)
        return self._done(ended, await self._in_thread(parse))

    async def _run_tool(self, files: tuple[str, ...]) -> tuple[Ended, ToolOutput]:
        tool, root = self._tool, Path(self._spec.root)
        report = self._scratch / tool.report_file if tool.report_file else None
        if report is not None:
            report.unlink(missing_ok=True)
        ended = await self._supervise(
            tool.command(files, scratch=self._scratch, root=root),
            cwd=self._spec.root,
            limits=Limits(self._left(), self._spec.output_limit_bytes, self._spec.memory_limit_bytes),
        )
        if ended.stopped_by:
            raise self._stopped(ended.stopped_by)
        written = b"" if report is None else await self._in_thread(partial(self._read_report, report))
        return ended, ToolOutput(ended.exit_code, ended.stdout, ended.stderr, ended.seconds, written)

    def _read_report(self, report: Path) -> bytes:
        """What the tool wrote: its output too, so the same limit holds."""
        most = self._spec.output_limit_bytes
        try:
            written = read_regular(report, most + 1)
        except OSError:
            return b""  # the parser says that there is no report
        if len(written) > most:
            raise self._stopped("OutputLimit")
        return written

    async def _find_unreadable(self, files: tuple[str, ...]) -> tuple[Unread, ...]:
        """All files that do not parse, in one go; what this process did not come to, the next run names."""
        listed = self._scratch / "files"
        listed.write_bytes(b"".join(os.fsencode(path) + b"\0" for path in files))
        command = (sys.executable, "-P", "-m", "mahavishnu_operator.scan.readable", str(listed))
        limits = Limits(self._left(), self._spec.output_limit_bytes, self._spec.memory_limit_bytes)
        ended = await self._supervise(command, cwd=self._spec.root, limits=limits)
        if ended.stopped_by in ("Cancelled", "TimedOut"):
            raise self._stopped(ended.stopped_by)
        return tuple(Unread(path, why) for path, why in readable.decode(ended.stdout, files).items())

    def _done(self, ended: Ended, report: ToolReport) -> Done:
        ended = replace(ended, seconds=report.seconds)
        if report.outcome == "ok":
            return done_of(ended, status="succeeded", reason="Completed", message="", payload=encode(report))
        how = f" ({signal_name(-ended.exit_code)})" if ended.exit_code < 0 else ""
        words = report.message or f"{self._tool.name} crashed{how}"
        payload = encode(replace(report, message=words))
        return done_of(ended, status="failed", reason="ToolCrashed", message=words, payload=payload)

    async def _find_version(self) -> str:
        """The version; a runner asks each tool once."""
        tool = self._tool
        if tool.name not in _versions:
            command = tool.version_command()
            if find_program(command[0]) is None:
                words = f"{tool.name} is not installed on the worker; {install_hint(tool.name)}"
                raise self._no_answer("not-installed", "refused", "ToolNotInstalled", words)
            limits = Limits(min(VERSION_SECONDS, self._left()), VERSION_BYTES)
            ended = await self._supervise(command, cwd=str(self._scratch), limits=limits)
            if ended.stopped_by == "Cancelled" or not self._left():
                raise self._stopped(ended.stopped_by or "TimedOut")
            version = tool.parse_version(ended.stdout)
            if ended.exit_code != 0 or not version:
                words = f"{tool.name} does not tell its version (exit code {ended.exit_code}): is it installed whole?"
                raise self._no_answer("crashed", "failed", "ToolCrashed", words)
            _versions[tool.name] = version
        return _versions[tool.name]

    async def _supervise(self, command: tuple[str, ...], *, cwd: str, limits: Limits) -> Ended:
        program = find_program(command[0]) or command[0]
        environment = {
            **tool_environment(self._scratch),
            "PYTHONSAFEPATH": "1",
        }  # imports nothing from the scanned tree
        try:
            return await supervise(
                (program, *command[1:]),
                cwd=cwd,
                environment=environment,
                limits=limits,
                cancel=self._cancel,
                confinement=self._confinement,
                readable=(self._spec.root,),
            )
        except (OSError, ValueError) as error:
            refused = refuse_start(error, what=self._tool.name, cwd=cwd)
            raise self._no_answer("crashed", refused.status, refused.reason, refused.message) from error

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await in_thread(work, seconds=self._left(), cancel=self._cancel)

    def _left(self) -> float:
        return max(0.0, self._ends_at - time.monotonic())

    def _stopped(self, stopped_by: StoppedBy) -> _NoAnswer:
        status, words = stopped(stopped_by, what=self._tool.name, timeout_seconds=self._timeout_seconds)
        return self._no_answer(_OUTCOMES.get(stopped_by, "crashed"), status, stopped_by, words)

    def _no_answer(self, outcome: Outcome, status: ResultStatus, reason: str, message: str) -> _NoAnswer:
        report = ToolReport(
            tool=self._tool.name, version=self._version, outcome=outcome, files=len(self._names), message=message
        )
        return _NoAnswer(Done(status, reason, message, payload=encode(report)))


class _NoAnswer(Exception):
    """The tool gave none; `done` says why, with a report of that."""

    def __init__(self, done: Done) -> None:
        super().__init__(done.message)
        self.done = done
