"""Fixtures of the tests with an operator on a real API server, and which tests stay together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from mahavishnu_operator.worker.descendants import spare_children
from tests.cluster.client import Cluster
from tests.cluster.fixtures import FIXTURES

from .operator_tools import OperatorProcess, Site, account, deploy
from .pod_tools import IMAGE, Kubelet, running_kubelet

SERVERS = {"up", "server", "faked"}  # fixtures that a module starts once


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep a module with a server of its own on one of xdist's workers: each of them would start that server."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            used = set(getattr(item, "fixturenames", ()))
            if item.path.is_relative_to(Path(__file__).parent) and used & SERVERS and not used & FIXTURES:
                item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture
def spared_children() -> Iterator[None]:
    """For tests that do a runner's work in this process: servers that other tests share are children of it too."""
    with spare_children():
        yield


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


@pytest.fixture(scope="module")
def pod_operator(deployed: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """A running operator whose workers are Pods; its log is shown when a test fails."""
    folder = tmp_path_factory.mktemp("operator")
    with OperatorProcess(account(deployed), folder, root=None, worker_image=IMAGE) as process:
        yield process
        print(process.process.log_tail())
        process.process.stop()


@pytest.fixture
async def kubelet(
    pod_operator: OperatorProcess, site: Site, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Kubelet]:
    """What a kubelet would do, in a namespace that is restricted."""
    site.cluster.kubectl("label", "namespace", site.namespace, "pod-security.kubernetes.io/enforce=restricted")
    async with running_kubelet(site, tmp_path_factory.mktemp("p")) as running:  # a socket's path has to be short
        yield running


@pytest.fixture
async def site(deployed: Cluster, namespace: str) -> AsyncIterator[Site]:
    """A fresh namespace to make objects in."""
    resources = KubernetesResources(Connection.from_kubeconfig(deployed.kubeconfig))
    yield Site(deployed, resources, namespace)
    await resources.close()
