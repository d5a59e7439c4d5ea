"""The chart with rights in one namespace alone: results in a PostgreSQL database, and a gateway for agents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from fastmcp.client.auth import BearerAuth

from tests.cluster.helm import Helm
from tests.cluster.node.cluster import NodeCluster
from tests.integration.callers_tools import AUDIENCE, EVERYTHING, make_accounts, until_allowed
from tests.integration.gateway_tools import agent_of
from tests.postgres.server import PostgresServer

from .agents import forwarded, status_without_token, trust
from .helm_release import NAME, Release
from .installing import Place, made_place, split


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
def release(
    place: Place, helm: Helm, database: str, operator_image: str, worker_image: str, gateway_image: str
) -> Release:
    create = ("create", "secret", "generic", "database", f"--from-literal=url={database}", "-n", place.system)
    place.kubectl(*create)
    installed = Release(helm, place, (operator_image, worker_image))
    registry, repository, tag = split(gateway_image)
    gateway = {"gateway.image.registry": registry, "gateway.image.repository": repository, "gateway.image.tag": tag}
    values = {"watchNamespaces[0]": place.team, "store.existingSecret": "database"}
    installed.put("install", "--set", "gateway.enabled=true", **values, **gateway)
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


async def test_an_agent_runs_commands_by_its_token_and_nobody_does_without(
    release: Release, place: Place, tmp_path: Path
) -> None:
    make_accounts(place.cluster, place.team, {"agent": EVERYTHING})
    until_allowed(place.cluster, f"system:serviceaccount:{place.team}:agent", "create", "scanjobs", "-n", place.team)
    token = place.kubectl("create", "token", "agent", f"--audience={AUDIENCE}").strip()
    trusted = trust(place)
    with forwarded(place, tmp_path) as url:
        assert status_without_token(url, trusted) == 401
        async with agent_of(url, auth=BearerAuth(token), verify=trusted) as agent:
            spawned = await agent.call("pool_spawn", name="agents", worker_type="command", max_workers=1, timeout=120)
            assert (spawned["pool_id"], spawned["success"]) == (f"{place.team}/agents", True), spawned
            ran = await agent.call("pool_execute", pool_id="agents", prompt="echo seen")
            assert (ran["output"], ran["exit_code"]) == ("seen\n", 0), ran
            assert (await agent.call("pool_close", pool_id="agents"))["success"]
