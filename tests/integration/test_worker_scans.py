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
from mahavishnu_operator.scan.tools.going_on import MAX_RUNS
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


async def test_a_report_that_a_tool_writes_to_a_file_is_read_and_none_is_left(runner: Runner, tree: Path) -> None:
    (tree / "knot.py").write_text(f"def f(a): return {'(1 if a else ' * 6}0{')' * 6}\n")
    done = await runner.run(scan(tree, tool="complexipy"), files=b"knot.py\0bad.py\0")
    assert [(each.path, each.rule) for each in report(done).findings] == [("knot.py", "cognitive-complexity")]
    assert not list(tree.glob(".complexipy*"))


async def test_a_report_file_over_the_output_limit_stops_the_tool(runner: Runner, tree: Path) -> None:
    done = await runner.run(
        ScanTask(tool="complexipy", root=str(tree), files_sha256="", file_count=0, output_limit_bytes=100),
        files=b"bad.py\0",
    )
    assert (done.status, done.reason, report(done).outcome) == ("failed", "OutputLimit", "crashed")


async def test_more_broken_files_than_mypy_is_run_again_hide_no_other(runner: Runner, tree: Path) -> None:
    (tree / "wrong.py").write_text("x: int = ''\n")
    broken = [f"broken_{number}.py" for number in range(2 * MAX_RUNS)]
    for name in broken:
        (tree / name).write_text("def broken(:\n")
    files = "".join(f"{name}\0" for name in (*broken, "gone.py", "wrong.py"))
    done = await runner.run(scan(tree, tool="mypy"), files=files.encode())
    found = report(done)
    assert (done.status, found.outcome, found.files) == ("succeeded", "ok", len(broken) + 2)
    assert [(each.path, each.rule) for each in found.findings] == [("wrong.py", "assignment")]
    assert {each.path for each in found.unread} == {*broken, "gone.py"}


async def test_a_missing_file_hides_no_other_from_vulture(runner: Runner, tree: Path) -> None:
    done = await runner.run(scan(tree, tool="vulture"), files=b"bad.py\0gone.py\0gone too.py\0")
    assert {(each.path, each.rule) for each in report(done).findings} == {("bad.py", "unused-import")}
    assert [each.path for each in report(done).unread] == ["gone too.py", "gone.py"]


async def test_a_tool_for_which_no_file_is_left_has_read_none(runner: Runner, tree: Path) -> None:
    done = await runner.run(scan(tree, tool="mypy"), files=b"gone.py\0")
    assert (done.status, report(done).outcome, report(done).files) == ("succeeded", "ok", 1)
    assert [each.path for each in report(done).unread] == ["gone.py"]


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


async def test_what_became_a_link_after_it_was_listed_is_not_followed(
    runner: Runner, tree: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.py").write_text(UNUSED_IMPORT)
    (tree / "folder").symlink_to(outside)
    (tree / "file.py").symlink_to(outside / "secret.py")
    done = await runner.run(scan(tree), files=b"folder/secret.py\0file.py\0bad.py\0")
    assert {each.path for each in report(done).findings} == {"bad.py"}
    assert {each.path for each in report(done).unread} == {"folder/secret.py", "file.py"}
    done = await runner.run(scan(tree), files=b"file.py\0")
    assert (report(done).files, [each.path for each in report(done).unread]) == (1, ["file.py"])


async def test_a_root_that_became_a_link_is_refused(runner: Runner, tree: Path) -> None:
    (tree.parent / "link").symlink_to(tree)
    for spec in (scan(tree.parent / "link"), PlanTask(root=str(tree.parent / "link"), tools=("ruff",))):
        done = await runner.run(spec, files=b"bad.py\0")
        assert (done.status, done.reason) == ("refused", "SourceUnreadable")
        assert "symbolic link" in done.message
