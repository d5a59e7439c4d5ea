"""A node ends with its test run, also one that is killed, with all that it did to the machine; two can run at once."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.test_controlplane import ROOT, processes_naming

from .cluster import NodeCluster

INNER_TIMEOUT = 500.0
END_TIMEOUT = 100.0

pytestmark = pytest.mark.timeout(700)


@pytest.mark.parametrize(
    ("last_statement", "exit_code"),
    [("pass", 0), ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL)],
    ids=["ended", "killed"],
)
def test_nothing_of_a_second_node_is_left(
    built_node_cluster: NodeCluster, tmp_path: Path, last_statement: str, exit_code: int
) -> None:
    outcome = run_with_a_node(tmp_path, last_statement)
    assert outcome.returncode == exit_code, outcome.stdout
    second: dict[str, Any] = json.loads((tmp_path / "node.json").read_text())

    assert second["link"] != built_node_cluster.network.link
    until(lambda: not Path("/sys/class/net", second["link"]).exists())
    until(lambda: not list(Path("/sys/fs/cgroup").glob(f"*/{second['cgroup']}")))
    until(lambda: not Path(second["data"]).exists())
    until(lambda: not processes_naming(tmp_path))
    assert built_node_cluster.cluster.kubectl("get", "--raw", "/readyz").stdout == "ok"


def test_the_machine_keeps_its_mounts_and_packet_filters(built_node_cluster: NodeCluster) -> None:
    mounts = Path("/proc/mounts").read_text()
    assert str(built_node_cluster.folder) not in mounts
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    assert "kube-proxy" not in tables
    assert "kube-proxy" in built_node_cluster.node.run("nft", "list", "tables")


def run_with_a_node(folder: Path, last_statement: str) -> subprocess.CompletedProcess[str]:
    """Run a test in a pytest of its own: it records what its node is, runs a Pod, then does the statement."""
    test = folder / "test_inner.py"
    test.write_text(
        textwrap.dedent(
            f"""\
            import json, os, pathlib, signal

            def test_inner(built_node_cluster):
                network, cluster = built_node_cluster.network, built_node_cluster.cluster
                about = {{
                    "link": network.link,
                    "cgroup": f"mahavishnu-node{{network.slot}}",
                    "data": str(built_node_cluster.node.folder / "data"),
                }}
                pathlib.Path({str(folder)!r}, "node.json").write_text(json.dumps(about))
                cluster.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=60s")
                pause = ("--image=localhost/pause:test", "--image-pull-policy=Never")
                cluster.kubectl("run", "pause", *pause)
                cluster.kubectl("wait", "--for=condition=Ready", "pod/pause", "--timeout=100s", timeout=120)
                assert list(pathlib.Path("/sys/fs/cgroup").glob("*/" + about["cgroup"] + "/kubepods"))
                {last_statement}
            """
        )
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "KUBECONFIG"))}
    plugins = ("-p", "tests.cluster.fixtures", "-p", "tests.cluster.node.fixtures", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), *plugins, "--timeout=400"]
    return subprocess.run(
        [*command, f"--basetemp={folder / 'inner'}", str(test)],
        cwd=ROOT,
        env=environment | {"MAHAVISHNU_TEST_CLUSTER": "built"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=INNER_TIMEOUT,
        check=False,
    )


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + END_TIMEOUT
    while not true():
        assert time.monotonic() < deadline, "something is left"
        time.sleep(0.05)
