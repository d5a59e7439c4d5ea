"""The chart with rights in one namespace alone, and with its tasks and results in a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.cluster.helm import Helm
from tests.cluster.node.cluster import NodeCluster
from tests.postgres.server import PostgresServer

from .helm_release import NAME, Release
from .installing import Place, made_place


@pytest.fixture(scope="module")
def place(built_node_cluster: NodeCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("volume")
    with made_place(built_node_cluster, folder, system="some-system", team="some-team") as made:
        yield made


@pytest.fixture(scope="module")
def postgres_for_pods(built_node_cluster: NodeCluster) -> Iterator[PostgresServer]:
    """A server on this machine that Pods reach."""
    network = built_node_cluster.network
    with PostgresServer(host=network.host_ip, clients=network.cidrs) as server:
        yield server


@pytest.fixture(scope="module")
def database(postgres_for_pods: PostgresServer) -> str:
    return postgres_for_pods.make_database_for("operator", password="a-long-password")


@pytest.fixture(scope="module")
def release(place: Place, helm: Helm, database: str, operator_image: str, worker_image: str) -> Release:
    create = ("create", "secret", "generic", "database", f"--from-literal=url={database}", "-n", place.system)
    place.kubectl(*create)
    installed = Release(helm, place, (operator_image, worker_image))
    installed.put("install", **{"watchNamespaces[0]": place.team, "store.existingSecret": "database"})
    place.pool("warm")
    return installed


def test_a_job_is_done_and_its_results_are_in_the_database(release: Release, place: Place, database: str) -> None:
    place.job("hello", ["true"], pool="warm")
    assert place.completed("hello") == {"total": 1, "succeeded": 1}
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT task FROM results").fetchall() == [("t0",)]
    assert place.cluster.kubectl("get", "pvc", "-n", place.system, "-o", "name").stdout == ""


def test_other_namespaces_are_out_of_its_reach_but_nodes_are_seen(release: Release, place: Place) -> None:
    account = f"system:serviceaccount:{place.system}:{NAME}"
    asked = ("auth", "can-i", f"--as={account}")
    assert place.kubectl(*asked, "create", "pods").strip() == "yes"
    assert place.kubectl(*asked, "create", "pods", "-n", "kube-system", check=False).strip() == "no"
    assert place.kubectl(*asked, "watch", "nodes", check=False).splitlines()[-1] == "yes"  # for cordons
