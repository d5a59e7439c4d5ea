"""The control plane of the tests is a real one, its parts can be killed, and it leaves nothing behind."""

import json
import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from .client import Cluster, KubectlError
from .controlplane import ControlPlane
from .process import ClusterError

ROOT = Path(__file__).resolve().parents[2]
INNER_TIMEOUT = 100.0
DEATH_TIMEOUT_MS = 10_000


def test_the_api_server_answers_ready(cluster: Cluster) -> None:
    assert cluster.kubectl("get", "--raw", "/readyz").stdout == "ok"


def test_a_namespace_gets_its_default_service_account(cluster: Cluster, namespace: str) -> None:
    accounts = cluster.json("get", "serviceaccounts", "--namespace", namespace)
    assert [account["metadata"]["name"] for account in accounts["items"]] == ["default"]


def test_a_service_account_has_its_own_rights_and_no_others(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods", "-n", namespace)
    cluster.kubectl(
        "create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={namespace}:default", "-n", namespace
    )
    account = cluster.as_service_account(namespace=namespace, name="default")

    assert account.server == cluster.server
    assert account.json("get", "pods")["items"] == []
    with pytest.raises(KubectlError, match="cannot list resource"):
        account.kubectl("get", "secrets")


def test_a_token_for_an_account_that_does_not_exist_is_refused(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(KubectlError, match="not found"):
        cluster.as_service_account(namespace=namespace, name="nobody")


@pytest.mark.parametrize("component", ["kube-apiserver", "etcd"])
def test_a_killed_server_comes_back_with_its_data(control_plane: ControlPlane, component: str) -> None:
    name = f"kept-by-{component}"
    control_plane.cluster.kubectl("create", "configmap", name, "--from-literal=key=value")
    first = control_plane.process(component).pid

    control_plane.kill(component)
    assert not control_plane.process(component).running
    control_plane.start(component)

    assert control_plane.process(component).pid != first
    control_plane.process("kube-apiserver").wait_ready()
    assert control_plane.cluster.json("get", "configmap", name)["data"] == {"key": "value"}


def test_a_killed_api_server_answers_nobody(control_plane: ControlPlane) -> None:
    control_plane.kill("kube-apiserver")
    try:
        refused = control_plane.cluster.kubectl("get", "--raw", "/readyz", check=False)
    finally:
        control_plane.start("kube-apiserver")
    assert refused.returncode != 0
    assert "refused" in refused.stderr


def test_controllers_work_on_after_a_polite_restart_of_the_api_server(control_plane: ControlPlane) -> None:
    manager = control_plane.process("kube-controller-manager").pid
    control_plane.stop("kube-apiserver")
    control_plane.start("kube-apiserver")

    control_plane.cluster.kubectl("create", "namespace", "after-the-restart")
    account = ("serviceaccount/default", "--namespace=after-the-restart")
    control_plane.cluster.kubectl("wait", "--for=create", *account, "--timeout=40s")
    assert control_plane.process("kube-controller-manager").pid == manager


def test_a_running_component_is_not_started_twice(control_plane: ControlPlane) -> None:
    with pytest.raises(ClusterError, match="etcd is running already"):
        control_plane.start("etcd")


def test_an_unknown_component_is_refused_by_name(control_plane: ControlPlane) -> None:
    with pytest.raises(ValueError, match="no component 'kubelet'; there are etcd, kube-apiserver"):
        control_plane.kill("kubelet")


def test_nothing_is_left_running_after_the_fixture_ends(tmp_path: Path) -> None:
    outcome = run_pytest(tmp_path, "pass")
    assert outcome.returncode == 0, outcome.stdout
    assert len(recorded_pids(tmp_path)) == 4
    assert processes_naming(tmp_path) == set()


def test_nothing_is_left_running_when_the_test_run_is_killed(tmp_path: Path) -> None:
    outcome = run_pytest(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    assert outcome.returncode == -signal.SIGKILL, outcome.stdout
    pids = recorded_pids(tmp_path)
    assert len(pids) == 4
    for pid in pids:
        assert_ends(pid)
    assert processes_naming(tmp_path) == set()


def run_pytest(folder: Path, last_statement: str) -> subprocess.CompletedProcess[str]:
    """Run a test in a pytest of its own: it records the pids of its cluster, then does the statement."""
    test = folder / "test_inner.py"
    test.write_text(
        textwrap.dedent(
            f"""\
            import json, os, pathlib, signal
            from tests.cluster.test_controlplane import processes_naming

            def test_inner(cluster):
                folder = pathlib.Path({str(folder)!r})
                pids = processes_naming(folder) - {{os.getpid()}}
                (folder / "pids").write_text(json.dumps(sorted(pids)))
                {last_statement}
            """
        )
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "KUBECONFIG"))}
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "-p", "tests.cluster.fixtures"]
    return subprocess.run(
        [*command, "-p", "no:cacheprovider", f"--basetemp={folder / 'inner'}", str(test)],
        cwd=ROOT,
        env=environment | {"MAHAVISHNU_TEST_CLUSTER": "built"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=INNER_TIMEOUT,
        check=False,
    )


def recorded_pids(folder: Path) -> list[int]:
    pids: list[int] = json.loads((folder / "pids").read_text())
    return pids


def processes_naming(folder: Path) -> set[int]:
    """The processes in whose command line the folder occurs, as it does in that of every component."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        if os.fsencode(folder) in command:
            found.add(int(process.name))
    return found


def assert_ends(pid: int) -> None:
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(process, select.POLLIN)
        assert poll.poll(DEATH_TIMEOUT_MS), f"process {pid} still runs"
    finally:
        os.close(process)
