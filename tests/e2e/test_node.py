"""The node of the tests is a real one: it runs the project's images, resolves names, evicts and isolates."""

import json

from tests.cluster.client import Cluster

from .pods import WAIT, create, evict, pod, run_pod, sleeper


def test_the_worker_image_runs_under_restricted_pod_security(
    node_cluster: Cluster, node_namespace: str, worker_image: str
) -> None:
    run_pod(node_cluster, node_namespace, pod("version", image=worker_image, args=["--version"]))
    assert node_cluster.kubectl("logs", "version", "-n", node_namespace).stdout.startswith("mahavishnu ")


def test_the_operator_image_runs_under_restricted_pod_security(
    node_cluster: Cluster, node_namespace: str, operator_image: str
) -> None:
    run_pod(node_cluster, node_namespace, pod("version", image=operator_image, args=["operator", "--help"]))
    assert "--path-root" in node_cluster.kubectl("logs", "version", "-n", node_namespace).stdout


def test_the_worker_image_holds_every_scanner_and_git(
    node_cluster: Cluster, node_namespace: str, worker_image: str
) -> None:
    code = "import shutil; print(*sorted(n for n in %r if shutil.which(n)))"
    tools = ["bandit", "codespell", "complexipy", "git", "mypy", "ruff", "vulture"]
    command = ["/opt/mahavishnu/bin/python", "-c", code % tools]
    run_pod(node_cluster, node_namespace, pod("tools", image=worker_image, command=command))
    assert node_cluster.kubectl("logs", "tools", "-n", node_namespace).stdout.split() == tools


def test_a_pod_that_wants_to_be_root_is_refused(node_cluster: Cluster, node_namespace: str, worker_image: str) -> None:
    rooted = pod("root", image=worker_image)
    rooted["spec"]["securityContext"]["runAsNonRoot"] = False
    refused = node_cluster.kubectl("create", "-n", node_namespace, "-f", "-", input=json.dumps(rooted), check=False)
    assert "violates PodSecurity" in refused.stderr


def test_a_pod_finds_the_api_server_by_its_name(node_cluster: Cluster, node_namespace: str, worker_image: str) -> None:
    code = "import socket; socket.create_connection(('kubernetes.default.svc', 443), 60); print('connected')"
    command = ["/opt/mahavishnu/bin/python", "-c", code]
    run_pod(node_cluster, node_namespace, pod("dns", image=worker_image, command=command))
    assert node_cluster.kubectl("logs", "dns", "-n", node_namespace).stdout == "connected\n"


def test_a_command_can_be_run_in_a_pod(node_cluster: Cluster, node_namespace: str, worker_image: str) -> None:
    create(node_cluster, node_namespace, sleeper("sleeper", worker_image))
    node_cluster.kubectl(
        "wait", "--for=condition=Ready", "pod/sleeper", "-n", node_namespace, f"--timeout={WAIT:g}s", timeout=2 * WAIT
    )
    done = node_cluster.kubectl("exec", "sleeper", "-n", node_namespace, "--", "mahavishnu", "--version")
    assert done.stdout.startswith("mahavishnu ")


def test_an_evicted_pod_goes_unless_a_budget_protects_it(
    node_cluster: Cluster, node_namespace: str, worker_image: str
) -> None:
    for name, busy in (("busy", "true"), ("idle", "false")):
        create(node_cluster, node_namespace, sleeper(name, worker_image, labels={"busy": busy}))
    budget = ("poddisruptionbudget", "busy", "--selector=busy=true", "--min-available=2147483647")
    node_cluster.kubectl("create", *budget, "-n", node_namespace)
    pods = ("pod/busy", "pod/idle")
    node_cluster.kubectl(
        "wait", "--for=condition=Ready", *pods, "-n", node_namespace, f"--timeout={WAIT:g}s", timeout=2 * WAIT
    )
    observed = "--for=jsonpath={.status.observedGeneration}=1"
    node_cluster.kubectl(
        "wait", observed, "poddisruptionbudget/busy", "-n", node_namespace, f"--timeout={WAIT:g}s", timeout=2 * WAIT
    )

    assert "would violate the pod's disruption budget" in evict(node_cluster, node_namespace, "busy")
    assert evict(node_cluster, node_namespace, "idle") == ""
    node_cluster.kubectl(
        "wait", "--for=delete", "pod/idle", "-n", node_namespace, f"--timeout={WAIT:g}s", timeout=2 * WAIT
    )
    assert node_cluster.json("get", "pod", "busy", "-n", node_namespace)["status"]["phase"] == "Running"
