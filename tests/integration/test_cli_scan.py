"""`mahavishnu scan` as a process: reports, exit codes, interrupts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from .cli_tools import MAHAVISHNU, environment, run, run_program

DIRTY = "import os\nx = undefined_name\n"
CLEAN = '"""A module."""\n\nNAME = "x"\n'


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "clean.py").write_text(CLEAN)
    return folder


def test_a_clean_tree_passes_with_exit_0(tree: Path) -> None:
    done = run_program("scan", tree, "--workers", "2")
    assert done.returncode == 0, done.stderr
    for tool in ("ruff", "bandit", "codespell"):
        assert tool in done.stdout


def test_all_tools_run_when_asked_for_and_the_quick_ones_when_not(tree: Path) -> None:
    def tools(*arguments: str) -> set[str]:
        done = run("scan", tree, "--json", *arguments)
        return {log["tool"]["driver"]["name"] for log in json.loads(done.stdout)["sarif"]["runs"]}

    assert tools() == {"bandit", "codespell", "ruff"}
    assert tools("--tool", "all") == {"bandit", "codespell", "complexipy", "mypy", "ruff", "vulture"}


def test_findings_at_the_limit_exit_1(tree: Path) -> None:
    (tree / "dirty.py").write_text(DIRTY)
    done = run("scan", tree, "--tool", "ruff", "--workers", "1")
    assert done.returncode == 1
    assert "F821" in done.stdout


def test_findings_below_the_limit_pass(tree: Path) -> None:
    (tree / "typo.txt").write_text("teh end\n")
    assert run("scan", tree, "--tool", "codespell").returncode == 0
    assert run("scan", tree, "--tool", "codespell", "--fail-on", "warning").returncode == 1


def test_nothing_fails_the_scan_with_fail_on_none(tree: Path) -> None:
    (tree / "dirty.py").write_text(DIRTY)
    assert run("scan", tree, "--tool", "ruff", "--fail-on", "none").returncode == 0


def test_the_sarif_file_has_one_run_a_tool(tree: Path, tmp_path: Path) -> None:
    (tree / "dirty.py").write_text(DIRTY)
    report = tmp_path / "report.sarif"
    run("scan", tree, "--tool", "ruff", "--tool", "bandit", "--sarif", report)
    log = json.loads(report.read_text())
    assert [r["tool"]["driver"]["name"] for r in log["runs"]] == ["bandit", "ruff"]
    locations = [r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for r in log["runs"][1]["results"]]
    assert set(locations) == {"dirty.py"}


def test_json_is_one_object_with_the_verdict(tree: Path) -> None:
    done = run("scan", tree, "--tool", "ruff", "--json")
    assert json.loads(done.stdout)["verdict"] == "Passed"


def test_an_unknown_tool_is_bad_input_and_the_known_ones_are_named(tree: Path) -> None:
    done = run("scan", tree, "--tool", "ruf")
    assert done.returncode == 2
    assert "'ruf'" in done.stderr
    assert "codespell" in done.stderr


@pytest.mark.parametrize(
    "arguments", [("gone",), ("tree/clean.py",), ("tree", "--workers", "0"), ("tree", "--fail-on", "x")]
)
def test_bad_input_exits_2(tree: Path, arguments: tuple[str, ...]) -> None:
    assert run("scan", *arguments, cwd=tree.parent).returncode == 2


def test_a_tool_that_is_not_installed_makes_the_scan_incomplete_and_spares_the_others(
    tree: Path, tmp_path: Path
) -> None:
    """The command from an environment of its own in which one scanner is missing."""
    (tree / "dirty.py").write_text(DIRTY)
    shadow = make_environment_without("bandit", tmp_path)
    command = [str(shadow), "-m", "mahavishnu_operator.cli", "scan", str(tree), "--fail-on", "none"]
    done = subprocess.run(
        command, env=environment(PATH="/usr/bin:/bin"), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 3, done.stderr
    assert "F821" in done.stdout
    assert "not installed" in done.stdout


def make_environment_without(tool: str, folder: Path) -> Path:
    """A folder of programs like this environment's, less one; the Python in it."""
    programs, mine = folder / "bin", Path(sys.executable).parent
    programs.mkdir()
    for program in mine.iterdir():
        if program.name != tool:
            (programs / program.name).symlink_to(program)
    (folder / "pyvenv.cfg").write_text((mine.parent / "pyvenv.cfg").read_text())
    (folder / "lib").symlink_to(mine.parent / "lib")
    return programs / "python"


def test_file_names_that_look_like_options_are_scanned_as_files(tree: Path) -> None:
    (tree / "--config=x.py").write_text(DIRTY)
    (tree / "two words\nand a line.py").write_text(DIRTY)
    (tree / os.fsdecode(b"latin-\xe9.py")).write_text(DIRTY)
    done = run("scan", tree, "--tool", "ruff", "--json")
    assert done.returncode == 1
    results = json.loads(done.stdout)["sarif"]["runs"][0]["results"]
    found = {r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for r in results}
    assert found == {"--config=x.py", "two%20words%0Aand%20a%20line.py", "latin-%E9.py"}


def test_ctrl_c_stops_every_child_and_says_what_was_done(tree: Path) -> None:
    for number in range(300):
        (tree / f"big_{number}.py").write_text(CLEAN * 2000)
    command = [MAHAVISHNU, "scan", str(tree), "--tool", "bandit", "--workers", "2"]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    below = wait_for_tool(process.pid, "bandit")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in stderr
    _, alive = psutil.wait_procs(below, timeout=10)
    assert not alive


@pytest.mark.parametrize("loaded", ["typer", "pydantic", "sqlite3", "mahavishnu_operator.control.embedded"])
def test_ctrl_c_while_the_program_starts_is_answered_in_words(tree: Path, loaded: str) -> None:
    """Python itself says on stderr what it has just loaded."""
    process = subprocess.Popen(
        [MAHAVISHNU, "scan", str(tree)],
        env=environment(PYTHONPROFILEIMPORTTIME="1"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert any(line.split("|")[-1].strip() == loaded for line in process.stderr)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert "Traceback" not in stderr
    assert process.returncode == 130
    assert "interrupted" in stderr


def wait_for_tool(pid: int, name: str) -> list[psutil.Process]:
    """All processes below `pid` once one of them runs that tool."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        below = psutil.Process(pid).children(recursive=True)
        for process in below:
            try:
                if any(part.endswith(f"/{name}") for part in process.cmdline()):
                    return below
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.02)
    raise AssertionError(f"{name} was not started")


def test_names_that_the_terminal_cannot_show_do_not_end_the_report(tree: Path) -> None:
    (tree / "ünï.py").write_text(DIRTY)
    done = run_program("scan", tree, "--tool", "ruff", PYTHONIOENCODING="ascii")
    assert done.returncode == 1
    assert "\\xfcn\\xef.py" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_report_that_cannot_be_a_file_is_refused_before_the_scan(tree: Path, tmp_path: Path) -> None:
    done = run("scan", tree, "--sarif", tmp_path)
    assert done.returncode == 2
    assert "is a folder" in done.stderr
    assert "scanning" not in done.stderr


def test_a_scan_that_times_out_before_it_has_a_report_says_that_none_was_written(tree: Path, tmp_path: Path) -> None:
    (tree / "big.py").write_text("x = 1\n" * 200_000)
    done = run("scan", tree, "--tool", "bandit", "--timeout", "1", "--sarif", tmp_path / "report.sarif")
    assert done.returncode == 3
    assert "spec.timeoutSeconds, 1 s from creation, have passed" in done.stderr
    assert "there is no report" in done.stderr or (tmp_path / "report.sarif").exists()


def test_a_scan_that_selects_no_file_is_incomplete(tree: Path) -> None:
    done = run("scan", tree, "--tool", "ruff", "--include", "*.nothing")
    assert done.returncode == 3
    assert "no tool had a file to look at" in done.stderr


def test_a_scan_whose_tool_could_read_nothing_is_incomplete(tree: Path) -> None:
    (tree / "clean.py").write_text("def broken(:\n")
    done = run("scan", tree, "--tool", "bandit")
    assert done.returncode == 3
    assert "bandit could not read its only file: clean.py" in done.stderr


def test_a_file_that_the_scan_left_out_is_named(tree: Path) -> None:
    (tree / "deep").mkdir()
    os.mkfifo(tree / "deep" / "pipe.py")
    done = run("scan", tree, "--tool", "ruff")
    assert "left out: deep/pipe.py" in done.stderr


def test_a_scan_starts_no_more_workers_than_it_has_tasks(tree: Path) -> None:
    """--workers is a limit: what runs is looked at until the scan has ended."""
    command = [MAHAVISHNU, "scan", str(tree), "--tool", "ruff", "--workers", "256"]
    agents: set[int] = set()
    with subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            agents.update(pid for pid in children_of(process.pid) if is_agent(pid))
    assert process.returncode == 0
    assert len(agents) == 1


def children_of(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.NoSuchProcess:
        return []


def is_agent(pid: int) -> bool:
    try:
        return any("mahavishnu_operator.worker" in part for part in psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return False
