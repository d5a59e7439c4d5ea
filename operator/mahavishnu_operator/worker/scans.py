"""Executors of plan and scan tasks, in the runner.

What a hostile tree or tool says is listed and parsed here, far from the token.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mahavishnu_operator.api.wire import PlanTask, ResultStatus, ScanTask
from mahavishnu_operator.scan.listing import list_files
from mahavishnu_operator.scan.model import Outcome, ToolReport, encode
from mahavishnu_operator.scan.planner import make_plan
from mahavishnu_operator.scan.tools.protocol import Tool, ToolOutput
from mahavishnu_operator.scan.tools.registry import TOOLS, install_hint

from .commands import done_of, refuse_start, signal_name
from .messages import Done
from .supervising import Ended, Limits, supervise
from .surroundings import find_program, tool_environment

VERSION_SECONDS = 30.0
VERSION_BYTES = 65_536
_versions: dict[str, str] = {}  # a runner's tools do not change under it


async def run_plan(spec: PlanTask, *, put: Callable[[bytes], str]) -> Done:
    """List the files and cut them into shards; `put` takes each list and answers its digest."""
    refusal = refuse_root(spec.root)
    if refusal is not None:
        return refusal
    unknown = [name for name in spec.tools if name not in TOOLS]
    if unknown:
        return Done(
            "refused", "UnknownTool", f"no tool is called {', '.join(unknown)}; known: {', '.join(sorted(TOOLS))}"
        )
    tools = [TOOLS[name] for name in spec.tools]

    def plan() -> str:
        listing = list_files(Path(spec.root), include=spec.include, exclude=spec.exclude)
        return encode(make_plan(listing, tools, bins=spec.bins, chunk_size=spec.chunk_size, put=put))

    begun = asyncio.get_running_loop().time()
    payload = await asyncio.to_thread(plan)
    seconds = asyncio.get_running_loop().time() - begun
    return Done("succeeded", "Completed", duration_seconds=seconds, payload=payload)


def refuse_root(root: str) -> Done | None:
    """Why this folder cannot be scanned, if so."""
    if not os.path.isdir(root):
        return Done("refused", "SourceUnreadable", f"source.path {root} is not a folder on the worker's machine")
    if not os.access(root, os.R_OK | os.X_OK):
        return Done("refused", "SourceUnreadable", f"source.path {root} cannot be read by the worker")
    return None


async def run_scan(
    spec: ScanTask, *, files: bytes, timeout_seconds: float, scratch: Path, cancel: asyncio.Event
) -> Done:
    """Run one tool over its files and parse what it says."""
    refusal = refuse_root(spec.root)
    if refusal is not None:
        return refusal
    tool = TOOLS.get(spec.tool)
    if tool is None:
        return Done("refused", "UnknownTool", f"no tool is called {spec.tool}; known: {', '.join(sorted(TOOLS))}")
    names = [os.fsdecode(name) for name in files.split(b"\0") if name]
    version = await _version(tool, scratch=scratch, cancel=cancel)
    if version is None:
        words = f"{tool.name} is not installed on the worker; {install_hint(tool.name)}"
        return _without_answer(tool, "", "not-installed", words, "refused", "ToolNotInstalled", len(names))
    command = tool.command(names, scratch=scratch, root=Path(spec.root))
    program = find_program(command[0]) or command[0]
    try:
        ended = await supervise(
            (program, *command[1:]),
            cwd=spec.root,
            environment=tool_environment(scratch),
            limits=Limits(timeout_seconds, spec.output_limit_bytes, spec.memory_limit_bytes),
            cancel=cancel,
        )
    except (OSError, ValueError) as error:
        refused = refuse_start(error, what=tool.name, cwd=spec.root)
        return _without_answer(tool, version, "crashed", refused.message, refused.status, refused.reason, len(names))
    if ended.stopped_by:
        return _stopped(tool, version, ended, timeout_seconds=timeout_seconds, files=len(names))
    output = ToolOutput(ended.exit_code, ended.stdout, ended.stderr, ended.seconds)
    report = await asyncio.to_thread(tool.parse, output, files=names, root=Path(spec.root), version=version)
    if report.outcome == "ok":
        return done_of(ended, status="succeeded", reason="Completed", message="", payload=encode(report))
    how = f" ({signal_name(-ended.exit_code)})" if ended.exit_code < 0 else ""
    words = report.message or f"{tool.name} crashed{how}"
    report = replace(report, message=words)
    return done_of(ended, status="failed", reason="ToolCrashed", message=words, payload=encode(report))


async def _version(tool: Tool, *, scratch: Path, cancel: asyncio.Event) -> str | None:
    """The version of an installed tool; None when it is not there."""
    if tool.name not in _versions:
        command = tool.version_command()
        program = find_program(command[0])
        if program is None:
            return None
        ended = await supervise(
            (program, *command[1:]),
            cwd=str(scratch),
            environment=tool_environment(scratch),
            limits=Limits(VERSION_SECONDS, VERSION_BYTES),
            cancel=cancel,
        )
        _versions[tool.name] = tool.parse_version(ended.stdout)
    return _versions[tool.name]


def _stopped(tool: Tool, version: str, ended: Ended, *, timeout_seconds: float, files: int) -> Done:
    match ended.stopped_by:
        case "TimedOut":
            words = f"{tool.name} was stopped after {timeout_seconds:g} s (taskTimeoutSeconds)"
            return _without_answer(tool, version, "timed-out", words, "timed-out", "TimedOut", files)
        case "Cancelled":
            words = f"{tool.name} was stopped because the job was cancelled"
            return _without_answer(tool, version, "cancelled", words, "cancelled", "Cancelled", files)
        case limit:
            words = f"{tool.name} was stopped: it went over a limit ({limit})"
            return _without_answer(tool, version, "crashed", words, "failed", limit, files)


def _without_answer(
    tool: Tool, version: str, outcome: Outcome, message: str, status: ResultStatus, reason: str, files: int
) -> Done:
    report = ToolReport(tool=tool.name, version=version, outcome=outcome, files=files, message=message)
    return Done(status, reason, message, payload=encode(report))
