"""Our REST client on a real API server: the same suite as everywhere, and ways in that only a cluster has."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from mahavishnu_operator.resources.protocol import WORKER_POOL, Expired, Forbidden, Key, Unreachable
from tests.cluster.client import Cluster
from tests.unit.resources.conformance import ResourcesConformance, pool

CRDS = Path(__file__).resolve().parents[2] / "crds"


@pytest.fixture(scope="module")
def kinds(cluster: Cluster) -> Cluster:
    """The cluster with our CRDs."""
    cluster.install_kinds(CRDS)
    return cluster


@pytest.fixture
async def resources(kinds: Cluster) -> AsyncIterator[KubernetesResources]:
    client = KubernetesResources(Connection.from_kubeconfig(kinds.kubeconfig))
    yield client
    await client.close()


class TestOnARealApiServer(ResourcesConformance):
    pass


async def test_an_event_is_counted_on_by_another_process(resources: KubernetesResources, namespace: str) -> None:
    obj = await resources.create(WORKER_POOL, pool(namespace))
    await resources.record_event(obj, reason="Scaled", message="again")
    second = KubernetesResources(resources.connection)
    await second.record_event(obj, reason="Scaled", message="again")
    await second.close()
    assert [event["count"] for event in await resources.events(obj)] == [2]


async def test_an_event_that_is_refused_is_no_failure(resources: KubernetesResources, namespace: str) -> None:
    obj = await resources.create(WORKER_POOL, pool(namespace))
    elsewhere = {**obj, "metadata": {**obj["metadata"], "namespace": f"{namespace}-not-there"}}
    await resources.record_event(elsewhere, reason="Scaled", message="to nobody")


async def test_a_version_that_is_too_old_is_expired(resources: KubernetesResources) -> None:
    with pytest.raises(Expired):
        async for _ in resources.watch(WORKER_POOL, since="1"):
            pass


async def test_a_service_account_is_told_what_it_may_not(kinds: Cluster, namespace: str) -> None:
    account = kinds.as_service_account(namespace=namespace, name="default")
    client = KubernetesResources(Connection.from_kubeconfig(account.kubeconfig))
    with pytest.raises(Forbidden, match=rf"system:serviceaccount:{namespace}:default.*workerpools"):
        await client.list(WORKER_POOL)
    await client.close()


async def test_an_exec_plugin_is_asked_for_a_token(kinds: Cluster, namespace: str, tmp_path: Path) -> None:
    account = kinds.as_service_account(namespace=namespace, name="default")
    config = json.loads(account.kubeconfig.read_text())
    token = config["users"][0]["user"]["token"]
    status = {"status": {"token": token}, "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
    (tmp_path / "credential.json").write_text(json.dumps(status))
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", f"print(open({str(tmp_path / 'credential.json')!r}).read())"],
        "interactiveMode": "Never",
    }
    config["users"][0]["user"] = {"exec": plugin}
    (tmp_path / "config").write_text(json.dumps(config))
    client = KubernetesResources(Connection.from_kubeconfig(tmp_path / "config"))
    with pytest.raises(Forbidden, match=f"system:serviceaccount:{namespace}:default"):
        await client.list(WORKER_POOL)
    await client.close()


async def test_a_pod_finds_its_way_in(kinds: Cluster, namespace: str, tmp_path: Path) -> None:
    admin = Connection.from_kubeconfig(kinds.kubeconfig)
    token = kinds.kubectl("create", "token", "default", "--namespace", namespace).stdout
    assert admin.ca_data is not None
    (tmp_path / "ca.crt").write_bytes(admin.ca_data)
    (tmp_path / "token").write_text(token)
    host, port = admin.server.removeprefix("https://").split(":")
    environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    client = KubernetesResources(Connection.in_cluster(tmp_path, environ))
    with pytest.raises(Forbidden, match=f"system:serviceaccount:{namespace}:default"):
        await client.get(WORKER_POOL, Key(namespace, "p"))
    await client.close()


async def test_a_server_that_is_not_trusted_is_not_spoken_to(kinds: Cluster) -> None:
    client = KubernetesResources(Connection.from_url(kinds.server))
    with pytest.raises(Unreachable, match="no trusted connection"):
        await client.list(WORKER_POOL)
    await client.close()
