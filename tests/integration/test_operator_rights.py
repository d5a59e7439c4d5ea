"""The manifests of deploy/ give the operator what it needs and nothing beyond, in all namespaces or in some."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.client import Cluster

from .operator_tools import DEPLOY, POOL, OperatorProcess, Site, account, condition

NAMESPACED = DEPLOY / "namespaced" / "role.yaml"
CLUSTER_ROLE = DEPLOY / "namespaced" / "rbac.yaml"
RIGHTS = {
    ("workerpools.mahavishnu.dev", "get list watch"),
    ("scanjobs.mahavishnu.dev", "get list watch delete"),
    ("workerpools.mahavishnu.dev/status", "patch"),
    ("workerpools.mahavishnu.dev/scale", "patch"),
    ("scanjobs.mahavishnu.dev/status", "patch"),
    ("events", "create patch list"),
    ("pods", "get list watch create delete patch"),
    ("jobs.batch", "get list watch create delete"),
    ("poddisruptionbudgets.policy", "create patch"),
    ("networkpolicies.networking.k8s.io", "create patch delete"),
}
# About no namespace, so no role can give them.
CLUSTER_RIGHTS = {("tokenreviews.authentication.k8s.io", "create"), ("nodes", "get list watch")}


def rights(cluster: Cluster, namespace: str) -> set[tuple[str, str]]:
    """What an account may do in a namespace, as the API server says: resource, paths and names; verbs."""
    listed = cluster.kubectl("auth", "can-i", "--list", "-n", namespace, "--no-headers").stdout.splitlines()
    rows = [re.fullmatch(r"(.*\])\s+\[(.*?)\]", line.strip()) for line in listed]
    return {(row[1].replace("[]", "").strip(), " ".join(sorted(row[2].split()))) for row in rows if row is not None}


def in_order(rights: set[tuple[str, str]]) -> set[tuple[str, str]]:
    return {(what, " ".join(sorted(verbs.split()))) for what, verbs in rights}


@pytest.fixture
def without_cluster_role(deployed: Cluster) -> Iterator[Cluster]:
    """The account without its rights in all namespaces, for one test."""
    deployed.kubectl("delete", "-f", str(DEPLOY / "rbac.yaml"))
    yield deployed
    deployed.kubectl("apply", "-f", str(DEPLOY / "rbac.yaml"))


def test_the_account_may_do_what_is_needed_and_nothing_beyond(deployed: Cluster, namespace: str) -> None:
    everybody = deployed.as_service_account(namespace=namespace, name="default")
    assert rights(account(deployed), namespace) - rights(everybody, namespace) == in_order(RIGHTS | CLUSTER_RIGHTS)


def test_a_role_gives_the_same_in_its_namespace_alone(without_cluster_role: Cluster, namespace: str) -> None:
    everybody = without_cluster_role.as_service_account(namespace=namespace, name="default")
    without_cluster_role.kubectl("apply", "-n", namespace, "-f", str(NAMESPACED))
    assert rights(account(without_cluster_role), namespace) - rights(everybody, namespace) == in_order(RIGHTS)
    assert rights(account(without_cluster_role), "default") == rights(everybody, "default")


def test_what_a_role_cannot_give_comes_from_a_small_cluster_role(without_cluster_role: Cluster, namespace: str) -> None:
    everybody = without_cluster_role.as_service_account(namespace=namespace, name="default")
    without_cluster_role.kubectl("apply", "-f", str(CLUSTER_ROLE))
    assert rights(account(without_cluster_role), namespace) - rights(everybody, namespace) == in_order(CLUSTER_RIGHTS)


async def test_an_operator_for_one_namespace_needs_no_more_than_a_role(
    without_cluster_role: Cluster, site: Site, tmp_path: Path
) -> None:
    site.kubectl("apply", "-f", str(NAMESPACED))
    restricted = account(without_cluster_role)
    with OperatorProcess(restricted, tmp_path, root=tmp_path, namespaces=[site.namespace]) as operator:
        await site.pool()
        job = await site.commands("job", ["true"])
        assert condition(await site.ended("job"), "Complete") == ("True", "Completed")
        await site.until_event(job, "Normal", "Completed")
        site.kubectl("scale", "wp", POOL, "--replicas=2")
        await site.ready(2)
        assert "orbidden" not in operator.process.log.read_text()


async def test_an_operator_for_one_namespace_leaves_the_others_alone(
    deployed: Cluster, site: Site, tmp_path: Path
) -> None:
    name = f"{site.namespace}-other"
    deployed.kubectl("create", "namespace", name)
    other = Site(deployed, site.resources, name)
    try:
        await other.pool()
        await other.commands("job", ["true"])
        with OperatorProcess(account(deployed), tmp_path, root=tmp_path, namespaces=[site.namespace]):
            await site.pool()
            await site.commands("job", ["true"])
            await site.ended("job")
        for kind in ("wp", "sj"):
            columns = deployed.kubectl("get", kind, "-n", name, "-o", "jsonpath={.items[*].status.observedGeneration}")
            assert columns.stdout == ""
    finally:
        deployed.kubectl("delete", "namespace", name, "--wait=false")


async def test_rights_that_are_given_later_are_waited_for(
    without_cluster_role: Cluster, site: Site, tmp_path: Path
) -> None:
    operator = OperatorProcess(account(without_cluster_role), tmp_path, root=tmp_path)
    try:
        operator.process.start()
        await operator.until_unhealthy("cannot list resource")
        without_cluster_role.kubectl("apply", "-f", str(DEPLOY / "rbac.yaml"))
        operator.process.wait_ready()
        await site.pool()
        await site.ready(1)
    finally:
        operator.close()
