"""Plan and scan tasks in a real runner, with the real ruff."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mahavishnu_operator.api.wire import PlanTask, ScanTask
from mahavishnu_operator.scan.model import ToolReport, decode_plan, decode_tool_report
from mahavishnu_operator.worker.messages import Done

from .runner_tools import Runner, running_runner

UNUSED_IMPORT = "import os\n"


@pytest.fixture
async def runner(tmp_path: Path) -> AsyncIterator[Runner]:
    async with running_runner(tmp_path / "work") as running:
        yield running


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    (root / "bad.py").write_text(UNUSED_IMPORT)
    (root / "--fix").mkdir()
    (root / "--fix" / "-x.py").write_text(UNUSED_IMPORT)
    return root


def scan(root: Path, *, tool: str = "ruff") -> ScanTask:
    return ScanTask(tool=tool, root=str(root), files_sha256="", file_count=0)


def report(done: Done) -> ToolReport:
    return decode_tool_report(done.payload)


async def test_a_plan_names_lists_that_come_as_blobs(runner: Runner, tree: Path) -> None:
    done = await runner.run(PlanTask(root=str(tree), tools=("ruff", "codespell"), bins=2))
    plan = decode_plan(done.payload)
    assert {shard.tool for shard in plan.shards} == {"ruff", "codespell"}
    assert {shard.files_sha256 for shard in plan.shards} == {hashlib.sha256(blob).hexdigest() for blob in runner.blobs}


async def test_a_scan_reports_findings_and_file_names_are_never_options(runner: Runner, tree: Path) -> None:
    done = await runner.run(scan(tree), files=b"bad.py\0--fix/-x.py\0")
    found = report(done)
    assert (done.status, found.outcome, found.version != "") == ("succeeded", "ok", True)
    assert {(finding.path, finding.rule) for finding in found.findings} == {("bad.py", "F401"), ("--fix/-x.py", "F401")}
    assert (tree / "bad.py").read_text() == UNUSED_IMPORT


async def test_a_tool_that_is_not_installed_is_refused_with_a_report_and_a_hint(tmp_path: Path, tree: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "python").symlink_to(os.path.realpath(sys.executable))
    environment = {"PATH": "/nonexistent", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = (str(bare / "python"), "-P", "-m", "mahavishnu_operator.worker.runner")
    async with running_runner(tmp_path, command=command, environment=environment) as runner:
        done = await runner.run(scan(tree), files=b"bad.py\0")
    assert (done.status, done.reason, report(done).outcome) == ("refused", "ToolNotInstalled", "not-installed")
    assert "pip install ruff" in done.message


async def test_a_scan_out_of_time_reports_that_it_did_not_look(runner: Runner, tree: Path) -> None:
    done = await runner.run(scan(tree), files=b"bad.py\0", timeout=0.0)
    assert (done.status, report(done).outcome, report(done).findings) == ("timed-out", "timed-out", ())


async def test_a_plan_out_of_time_takes_its_runner_along(runner: Runner, tree: Path) -> None:
    done = await runner.run(PlanTask(root=str(tree), tools=("ruff",)), timeout=0.0)
    assert (done.status, done.last) == ("timed-out", True)
    assert await runner.process.wait() == 0


@pytest.mark.parametrize("root", ["missing", "tree/bad.py"])
async def test_a_source_that_cannot_be_read_is_refused(runner: Runner, tree: Path, root: str) -> None:
    for spec in (scan(tree.parent / root), PlanTask(root=str(tree.parent / root), tools=("ruff",))):
        done = await runner.run(spec, files=b"bad.py\0")
        assert (done.status, done.reason) == ("refused", "SourceUnreadable")
        assert root in done.message


async def test_a_tool_that_nobody_knows_is_refused(runner: Runner, tree: Path) -> None:
    done = await runner.run(scan(tree, tool="nosuch"), files=b"bad.py\0")
    assert (done.status, done.reason) == ("refused", "UnknownTool")
    done = await runner.run(PlanTask(root=str(tree), tools=("nosuch",)))
    assert (done.status, done.reason) == ("refused", "PlanRefused")
    assert "nosuch" in done.message
