"""Where no node can run, its tests are left out, one line says so, and the run fails unless that was accepted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.test_controlplane import ROOT


@pytest.mark.parametrize(("accepted", "exit_code"), [("", 1), ("1", 0)])
@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_a_run_without_its_node_tests_fails_unless_told_otherwise(
    tmp_path: Path, accepted: str, exit_code: int, workers: tuple[str, ...]
) -> None:
    outcome = run_where_no_node_can_be(tmp_path, accepted, workers)
    assert "1 tests not run on this machine: a node needs " in outcome.stdout
    assert outcome.returncode == exit_code, outcome.stdout


def run_where_no_node_can_be(folder: Path, accepted: str, workers: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Run one test that needs a node and one that does not, with a PATH that holds none of the node's programs."""
    test = folder / "test_inner.py"
    test.write_text("def test_node(node_cluster):\n    raise AssertionError\n\ndef test_other():\n    pass\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "KUBECONFIG"))}
    environment |= {"MAHAVISHNU_TEST_CLUSTER": "built", "ALLOW_MISSING": accepted, "PATH": str(folder)}
    plugins = ("-p", "tests.cluster.fixtures", "-p", "tests.cluster.node.fixtures", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), *plugins, *workers]
    return subprocess.run(
        [*command, f"--basetemp={folder / 'inner'}", str(test)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
