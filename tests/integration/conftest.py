"""Fixtures of the tests with an operator on a real API server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from tests.cluster.client import Cluster

from .operator_tools import OperatorProcess, Site, account, deploy


@pytest.fixture(scope="session")
def deployed(cluster: Cluster) -> Cluster:
    """The cluster with our kinds, and with the operator's account and rights."""
    deploy(cluster)
    return cluster


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that jobs may read."""
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def operator(deployed: Cluster, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """A running operator for all namespaces, the test module's own; its log is shown when a test fails."""
    with OperatorProcess(account(deployed), tmp_path_factory.mktemp("operator"), root=root) as process:
        yield process
        print(process.process.log_tail())
        process.process.stop()


@pytest.fixture
async def site(deployed: Cluster, namespace: str) -> AsyncIterator[Site]:
    """A fresh namespace to make objects in."""
    resources = KubernetesResources(Connection.from_kubeconfig(deployed.kubeconfig))
    yield Site(deployed, resources, namespace)
    await resources.close()
