"""Runs the real tools as the worker's runner does: own environment, root as working directory, no shell."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mahavishnu_operator.scan.listing import Listing, list_files
from mahavishnu_operator.scan.model import ToolReport
from mahavishnu_operator.scan.planner import make_plan
from mahavishnu_operator.scan.tools import going_on
from mahavishnu_operator.scan.tools.protocol import Tool, ToolOutput

FIXTURES = Path(__file__).resolve().parent / "fixtures"


def start(command: Sequence[str], *, root: Path, scratch: Path, deadline: float = 60.0) -> ToolOutput:
    """One run of a tool that is installed beside this Python."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin{os.pathsep}/bin",
        "LANG": "C.UTF-8",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
    }
    begun = time.perf_counter()
    ran = subprocess.run(
        command, cwd=root, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=deadline
    )
    return ToolOutput(ran.returncode, ran.stdout, ran.stderr, time.perf_counter() - begun)


def version(tool: Tool, scratch: Path) -> str:
    """The installed version."""
    return tool.parse_version(start(tool.version_command(), root=scratch, scratch=scratch).stdout)


def output_of(tool: Tool, root: Path, files: Sequence[str], *, scratch: Path) -> ToolOutput:
    """What one run over these files leaves."""
    report = scratch / tool.report_file if tool.report_file else None
    if report is not None:
        report.unlink(missing_ok=True)
    output = start(tool.command(files, scratch=scratch, root=root), root=root, scratch=scratch)
    return replace(output, report=report.read_bytes()) if report is not None and report.exists() else output


def selected(tool: Tool, root: Path) -> list[str]:
    """The files under root that the tool is given."""
    return [path for path in _paths(list_files(root)) if tool.selects(path)]


def run(tool: Tool, root: Path, files: Sequence[str] | None = None, *, scratch: Path) -> ToolReport:
    """What the tool says of these files, by default of all that it selects under root."""
    one = going_on.Run(tuple(selected(tool, root) if files is None else files))
    while True:
        output = output_of(tool, root, one.files, scratch=scratch)
        blockers = going_on.blockers(tool, one, output, root=root)
        if not blockers:
            return going_on.report_of(tool, one, output, root=root, version=version(tool, scratch))
        one = one.after(output, blockers)


def run_in_bins(tool: Tool, root: Path, *, bins: int, chunk_size: int, scratch: Path) -> list[ToolReport]:
    """What it says bin by bin, as planned."""
    blobs: dict[str, bytes] = {}

    def put(data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        blobs[sha256] = data
        return sha256

    plan = make_plan(list_files(root), [tool], bins=bins, chunk_size=chunk_size, put=put)
    lists = [[os.fsdecode(name) for name in blobs[shard.files_sha256].split(b"\0")[:-1]] for shard in plan.shards]
    return [run(tool, root, files, scratch=scratch) for files in lists]


def places(report: ToolReport) -> set[tuple[str, str, int]]:
    """Rule, path and line of each finding."""
    return {(each.rule, each.path, each.line) for each in report.findings}


def unread(report: ToolReport) -> dict[str, str]:
    """The reason by path."""
    return {each.path: each.reason for each in report.unread}


def _paths(listing: Listing) -> list[str]:
    return [file.path for file in listing.files]
