"""A server that is started on a full disk says so and ends; what it had is untouched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.client import write_kubeconfig
from tests.integration.cli_tools import DEADLINE_SECONDS, MAHAVISHNU, environment, running_up

# No file of it can grow, as on a full disk; who may not mount has no other.
NO_ROOM = (
    "import os, resource, sys\n"
    "_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))\n"
    "os.execv(sys.argv[1], sys.argv[1:])\n"
)


def run_without_room(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", NO_ROOM, MAHAVISHNU, *map(str, arguments)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
    )


@pytest.mark.parametrize("existing", [False, True], ids=["new", "existing"])
def test_up_says_that_there_is_no_room(tmp_path: Path, existing: bool) -> None:
    data = tmp_path / "data"
    if existing:
        with running_up(data):
            pass
    done = run_without_room("up", "--data", data, "--port", "0", "--dispatch-port", "0")
    assert done.returncode == 2
    assert f"cannot keep state in {data}: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    with running_up(data) as up:
        assert up.run("get", "wp").returncode == 0


def test_the_operator_says_that_there_is_no_room(tmp_path: Path) -> None:
    kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", connection={"server": "http://127.0.0.1:1"}, user={})
    data = tmp_path / "data"
    ports = ("--dispatch-port", "0", "--probe-port", "0")
    done = run_without_room("operator", "--kubeconfig", kubeconfig, "--data", data, *ports)
    assert done.returncode == 2
    assert f"cannot keep state in {data}: File too large" in done.stderr
    assert "Traceback" not in done.stderr
