"""Fixtures of the tests with an operator whose workers are Pods of a real node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from tests.cluster.client import Cluster
from tests.cluster.helm import Helm
from tests.cluster.node.cluster import NodeCluster
from tests.integration.operator_tools import CRDS, SYSTEM, OperatorProcess, deploy

from .installing import CLUSTER_WIDE, OURS
from .operating import NODE_DEADLINE, PodSite, pod_operator
from .telling import PodWitness


@pytest.fixture(scope="module")
def deployed(node_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with our kinds, and with the operator's account and rights; without them afterwards."""
    deploy(node_cluster)
    try:
        yield node_cluster
    finally:
        node_cluster.kubectl("delete", "-f", str(CRDS))
        node_cluster.kubectl("delete", CLUSTER_WIDE, "-l", OURS)
        node_cluster.kubectl("delete", "namespace", SYSTEM)


@pytest.fixture(scope="module")
def operator(
    deployed: Cluster, built_node_cluster: NodeCluster, worker_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """A running operator for all namespaces, the test module's own; its log is shown when a test fails."""
    assert deployed is built_node_cluster.cluster
    with pod_operator(built_node_cluster, tmp_path_factory.mktemp("operator"), worker_image=worker_image) as process:
        yield process
        print(process.process.log_tail())
        process.process.stop()


@pytest.fixture
async def site(deployed: Cluster, node_namespace: str) -> AsyncIterator[PodSite]:
    """A fresh namespace to make objects in, which admits restricted Pods alone."""
    resources = KubernetesResources(Connection.from_kubeconfig(deployed.kubeconfig))
    yield PodSite(deployed, resources, node_namespace, NODE_DEADLINE)
    await resources.close()


@pytest.fixture
def witness(built_node_cluster: NodeCluster, tmp_path: Path) -> Iterator[PodWitness]:
    """Who hears what tasks in Pods tell, and holds those that are to wait."""
    with PodWitness(tmp_path / "witness", host=built_node_cluster.network.host_ip) as listening:
        yield listening


@pytest.fixture(scope="module")
def helm(helm_binary: Path, node_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """helm, for the cluster that runs Pods."""
    return Helm(helm_binary, tmp_path_factory.mktemp("helm"), node_cluster.kubeconfig)
