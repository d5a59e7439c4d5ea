"""Simulated nodes and Pods: a hundred of each are ready in seconds, for questions of scale."""

from collections.abc import Iterator

import pytest

from tests.cluster.client import Cluster
from tests.cluster.node.simulation import apply, on_simulated_nodes, simulated_node

from .pods import CONFINED, NOT_ROOT, WAIT

NODES = 100


def test_a_hundred_simulated_nodes_run_a_hundred_pods(
    simulation: Cluster, node_namespace: str, simulated_nodes: set[str]
) -> None:
    container = {"name": "main", "image": "simulated", "securityContext": CONFINED}
    spec = on_simulated_nodes({"securityContext": NOT_ROOT, "containers": [container]})
    metadata = [{"name": f"simulated-{number}", "namespace": node_namespace} for number in range(NODES)]
    apply(simulation, [{"apiVersion": "v1", "kind": "Pod", "metadata": each, "spec": spec} for each in metadata])
    ready = ("wait", "--for=condition=Ready", "pod", "--all", "-n", node_namespace, f"--timeout={WAIT:g}s")
    simulation.kubectl(*ready, timeout=2 * WAIT)

    hosts = {each["spec"]["nodeName"] for each in simulation.json("get", "pods", "-n", node_namespace)["items"]}
    assert len(hosts) > 1
    assert hosts <= simulated_nodes
    # What keeps the nodes: without it they are lost in less than a minute.
    kept = simulation.json("get", "leases", "-n", "kube-node-lease")["items"]
    assert simulated_nodes <= {each["metadata"]["name"] for each in kept if each["spec"]["leaseDurationSeconds"] == 40}


@pytest.fixture
def simulated_nodes(simulation: Cluster) -> Iterator[set[str]]:
    names = {f"simulated-{number}" for number in range(NODES)}
    try:
        apply(simulation, [simulated_node(name) for name in sorted(names)])
        ready = ("wait", "--for=condition=Ready", "node", "-l", "type=kwok", f"--timeout={WAIT:g}s")
        simulation.kubectl(*ready, timeout=2 * WAIT)
        yield names
    finally:
        simulation.kubectl("delete", "node", "-l", "type=kwok", "--wait=false")
