"""`mahavishnu scan --cluster` as a person runs it, against a `mahavishnu up`: the same answer as a local scan."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cli_tools import DEADLINE_SECONDS, MAHAVISHNU, Up, environment, run, running_up

POOL = """\
apiVersion: mahavishnu.dev/v1alpha1
kind: WorkerPool
metadata:
  name: pool
spec:
  backend: local-process
  minWorkers: 0
  maxWorkers: 2
  replicas: 1
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("up")
    with running_up(folder / "state") as running:
        pool = folder / "pool.yaml"
        pool.write_text(POOL)
        assert running.run("apply", "-f", pool).returncode == 0
        yield running


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with an ignored folder."""
    root = tmp_path / "tree"
    (root / "ignored").mkdir(parents=True)
    (root / "a.py").write_text("import os\n")
    (root / "ignored/b.py").write_text("import os\n")
    (root / ".gitignore").write_text("ignored/\n")
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    return root


def scan(up: Up, tree: Path, *more: str | Path) -> subprocess.CompletedProcess[str]:
    return run("scan", tree, "--cluster", "--server", up.url, "--pool", "pool", "--tool", "ruff", *more)


def without_times(text: str) -> str:
    return re.sub(r"\d+\.\d+ s", "N s", text)


def test_the_report_and_the_exit_code_are_those_of_a_local_scan(up: Up, tree: Path) -> None:
    there, here = scan(up, tree), run("scan", tree, "--tool", "ruff")
    assert without_times(there.stdout) == without_times(here.stdout)
    assert there.returncode == here.returncode == 1, there.stderr
    assert "1 finding in 1 file" in there.stdout


def test_the_sarif_report_names_the_same_findings(up: Up, tree: Path, tmp_path: Path) -> None:
    scan(up, tree, "--sarif", tmp_path / "there.sarif")
    run("scan", tree, "--tool", "ruff", "--sarif", tmp_path / "here.sarif")
    there, here = (json.loads((tmp_path / name).read_text()) for name in ("there.sarif", "here.sarif"))
    assert there["runs"][0]["results"] == here["runs"][0]["results"]


def test_json_is_one_object_with_the_verdict(up: Up, tree: Path) -> None:
    done = scan(up, tree, "--json", "--fail-on", "none")
    assert json.loads(done.stdout)["verdict"] == "Passed"
    assert done.returncode == 0


def test_a_report_is_read_again_by_who_may_write_the_scanjob(up: Up, tree: Path) -> None:
    first = scan(up, tree)
    found = re.search(r"ScanJob default/(\S+)", first.stderr)
    assert found is not None
    again = run("report", found[1], "--server", up.url)
    assert without_times(again.stdout) == without_times(first.stdout)
    assert again.returncode == 1


def test_a_report_that_is_not_to_be_had_is_no_finding(up: Up) -> None:
    done = run("report", "nosuch", "--server", up.url)
    assert "nosuch" in done.stderr
    assert done.returncode == 3


def test_a_pool_that_is_not_there_is_waited_for_and_the_wait_is_explained(up: Up, tree: Path) -> None:
    done = run("scan", tree, "--cluster", "--server", up.url, "--pool", "nosuch", "--timeout", "2")
    assert "WorkerPool default/nosuch does not exist" in done.stderr
    assert done.returncode == 2


def test_ctrl_c_cancels_the_scanjob_and_says_so(up: Up, tree: Path) -> None:
    command = [MAHAVISHNU, "scan", str(tree), "--cluster", "--server", up.url, "--pool", "nosuch"]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "waiting: " in line:
            break
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=DEADLINE_SECONDS)
    said = "".join(lines) + rest
    name = re.search(r"ScanJob default/(\S+) was cancelled", said)
    assert name is not None, said
    assert process.returncode == 130
    assert "Cancelled" in up.run("get", "scanjob", name[1]).stdout


def test_a_job_whose_archive_cannot_be_brought_is_cancelled(up: Up, tree: Path) -> None:
    (tree / "own.txt").write_text("content that no other job has brought\n")
    done = scan(up, tree, "--dispatcher-url", "http://127.0.0.1:1")  # where nobody listens
    name = re.search(r"ScanJob default/(\S+) is being cancelled", done.stderr)
    assert name is not None, done.stderr
    assert "127.0.0.1:1" in done.stderr
    assert done.returncode == 4
    deadline = time.monotonic() + DEADLINE_SECONDS
    while "Cancelled" not in (said := up.run("get", "scanjob", name[1]).stdout):
        assert time.monotonic() < deadline, said


def test_options_of_the_cluster_without_it_are_refused(tree: Path) -> None:
    done = run("scan", tree, "--pool", "pool")
    assert done.returncode == 2
    assert "--pool does nothing without --cluster" in done.stderr


def test_a_tree_that_is_too_large_is_refused_before_anything_is_sent(up: Up, tmp_path: Path) -> None:
    root = tmp_path / "large"
    root.mkdir()
    with open("/dev/urandom", "rb") as noise:
        for number in range(3):
            (root / f"{number}.bin").write_bytes(noise.read(30 * 1024 * 1024))
    before = up.run("get", "scanjobs", "-o", "json").stdout
    done = run("scan", root, "--cluster", "--server", up.url)
    assert "larger than 64 MiB" in done.stderr
    assert done.returncode == 2
    assert up.run("get", "scanjobs", "-o", "json").stdout == before
