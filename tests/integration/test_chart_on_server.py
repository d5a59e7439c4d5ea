"""The chart on a real API server: installed, upgraded with its kinds, rolled back, uninstalled, beside another."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.render_manifests import CHART
from tests.cluster.client import Cluster
from tests.cluster.controlplane import ControlPlane
from tests.cluster.helm import Helm, HelmError

from .operator_tools import DEADLINE, SYSTEM

NEW_FIELD = "ttlSecondsAfterFinished"
RELEASE = ("mahavishnu-operator", "--namespace", SYSTEM)
JOB = {
    "apiVersion": "mahavishnu.dev/v1alpha1",
    "kind": "ScanJob",
    "metadata": {"name": "kept", "namespace": "default"},
    "spec": {"poolRef": {"name": "pool"}, "tasks": [{"id": "t", "command": ["true"]}]},
}


@pytest.fixture(scope="module")
def server(control_plane: ControlPlane) -> Cluster:
    return control_plane.cluster


@pytest.fixture(scope="module")
def helm(helm_binary: Path, server: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(helm_binary, tmp_path_factory.mktemp("helm"), server.kubeconfig)


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart of an earlier version, whose kinds lack a category, and jobs a field."""
    chart = tmp_path_factory.mktemp("older") / "chart"
    shutil.copytree(CHART, chart)
    for file in (chart / "files" / "crds").glob("*.yaml"):
        definition = yaml.safe_load(file.read_text())
        del definition["spec"]["names"]["categories"]
        if "scanjobs" in file.name:
            (version,) = definition["spec"]["versions"]
            del version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"][NEW_FIELD]
        file.write_text(yaml.safe_dump(definition, sort_keys=False))
    return chart


@pytest.fixture
def release(helm: Helm, server: Cluster, older: Path) -> Iterator[tuple[str, ...]]:
    """The release of the earlier version, with an object of its kinds."""
    with installed(helm, server, older):
        yield RELEASE


@pytest.fixture(scope="class")
def kept_release(helm: Helm, server: Cluster, older: Path) -> Iterator[None]:
    """The same, for tests that leave it as it is."""
    with installed(helm, server, older):
        yield


@contextmanager
def installed(helm: Helm, server: Cluster, older: Path) -> Iterator[None]:
    helm.run("install", RELEASE[0], str(older), *RELEASE[1:], "--create-namespace", "--take-ownership")
    served(server)
    server.kubectl("apply", "-f", "-", input=json.dumps(JOB))
    try:
        yield
    finally:
        helm.run("uninstall", *RELEASE, "--ignore-not-found")


def test_an_upgrade_brings_the_newer_kinds_and_keeps_objects_and_certificate(
    helm: Helm, server: Cluster, release: tuple[str, ...]
) -> None:
    before = certificate(server), job(server)
    helm.run("upgrade", release[0], str(CHART), *release[1:])
    assert categories(server) == ["mahavishnu"]
    assert (certificate(server), job(server)) == before


def test_a_rollback_brings_the_older_kinds_back_and_keeps_objects_and_certificate(
    helm: Helm, server: Cluster, release: tuple[str, ...]
) -> None:
    before = certificate(server), job(server)
    helm.run("upgrade", release[0], str(CHART), *release[1:])
    helm.run("rollback", release[0], "1", *release[1:])
    assert categories(server) is None
    assert (certificate(server), job(server)) == before


def test_a_field_of_the_newer_kinds_is_usable_in_an_older_object(
    helm: Helm, server: Cluster, release: tuple[str, ...]
) -> None:
    use = ("patch", "scanjob", "kept", "--type=merge", "-p", json.dumps({"spec": {NEW_FIELD: 60}}))
    before = job(server)
    server.kubectl(*use)
    assert job(server) == before  # the older server drops what it does not know
    helm.run("upgrade", release[0], str(CHART), *release[1:])

    def usable() -> bool:
        server.kubectl(*use)
        return bool(job(server)[1].get(NEW_FIELD) == 60)

    until(usable)
    uid, spec = job(server)
    assert (uid, {name: value for name, value in spec.items() if name != NEW_FIELD}) == before


def test_an_uninstall_keeps_kinds_objects_volume_and_certificate_and_a_new_install_takes_them_over(
    helm: Helm, server: Cluster, release: tuple[str, ...]
) -> None:
    before = certificate(server), job(server)
    helm.run("uninstall", *release)
    left = server.kubectl("get", "deploy,svc,sa,secret,netpol,pdb,pvc", "-n", SYSTEM, "-o", "name").stdout.split()
    ours = [name for name in left if "mahavishnu" in name]
    assert sorted(ours) == ["persistentvolumeclaim/mahavishnu-operator", "secret/mahavishnu-operator-tls"]
    everywhere = "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings"
    assert "mahavishnu" not in server.kubectl("get", everywhere, "-o", "name").stdout
    assert job(server) == before[1]

    helm.run("install", release[0], str(CHART), *release[1:])
    assert categories(server) == ["mahavishnu"]
    assert (certificate(server), job(server)) == before


@pytest.mark.usefixtures("kept_release")
class TestWhileItStands:
    def test_kinds_that_somebody_else_applied_are_not_taken_unasked(self, helm: Helm, server: Cluster) -> None:
        with pytest.raises(HelmError, match=r"scanjobs\.mahavishnu\.dev.*invalid ownership metadata"):
            helm.run("install", "second", str(CHART), "--namespace", "default")

    def test_a_second_release_for_some_namespaces_stands_beside_the_first(self, helm: Helm, server: Cluster) -> None:
        values = "watchNamespaces={kube-public},crds.install=false,rbac.userRoles=false"
        helm.run("install", "second", str(CHART), "--namespace", "default", "--set", values)
        second = server.as_service_account(namespace="default", name="second-mahavishnu-operator")
        try:
            assert may(second, "create pods", "kube-public")
            assert not may(second, "create pods", "default")
            assert may(second, "create tokenreviews", "default")
        finally:
            helm.run("uninstall", "second", "--namespace", "default")

    @pytest.mark.parametrize(
        ("role", "allowed", "refused"),
        [
            ("view", ["get workerpools", "watch scanjobs"], ["create scanjobs", "patch workerpools/scale"]),
            ("edit", ["create scanjobs", "patch workerpools/scale"], ["create workerpools", "patch scanjobs/status"]),
            ("admin", ["create workerpools", "deletecollection scanjobs"], ["patch workerpools/status"]),
        ],
    )
    def test_people_get_their_rights_by_the_roles_of_the_cluster(
        self, server: Cluster, role: str, allowed: list[str], refused: list[str]
    ) -> None:
        server.kubectl("create", "serviceaccount", f"a-{role}")
        server.kubectl(
            "create", "rolebinding", f"a-{role}", f"--clusterrole={role}", f"--serviceaccount=default:a-{role}"
        )
        person = server.as_service_account(namespace="default", name=f"a-{role}")
        until(lambda: all(may(person, each, "default") for each in allowed))  # a controller aggregates them
        assert not [each for each in refused if may(person, each, "default")]


def certificate(server: Cluster) -> dict[str, str]:
    data: dict[str, str] = server.json("get", "secret", "mahavishnu-operator-tls", "-n", SYSTEM)["data"]
    assert set(data) == {"tls.crt", "tls.key", "ca.crt"}
    return data


def job(server: Cluster) -> tuple[str, Any]:
    kept = server.json("get", "scanjob", "kept")
    return kept["metadata"]["uid"], kept["spec"]


def categories(server: Cluster) -> Any:
    return server.json("get", "crd", "scanjobs.mahavishnu.dev")["spec"]["names"].get("categories")


def served(server: Cluster) -> None:
    for kind in ("scanjobs", "workerpools"):
        until(lambda kind=kind: server.kubectl("get", kind, check=False).returncode == 0)  # type: ignore[misc]


def may(person: Cluster, what: str, namespace: str) -> bool:
    verb, resource, subresource = re.fullmatch(r"(\S+) (\w+)/?(\w*)", what).groups()  # type: ignore[union-attr]
    asked = ("auth", "can-i", verb, resource, f"--subresource={subresource}", "-n", namespace)
    return person.kubectl(*asked, check=False).returncode == 0


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.05)
