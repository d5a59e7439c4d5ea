"""pytest fixtures for tests that need a Kubernetes API: `cluster`, `namespace`, `control_plane`; and single programs.

`cluster` is, in this order: the cluster that KUBECONFIG_TEST names; kind, where a Docker daemon answers; the control
plane built from Go modules (controlplane.py), which has no node. MAHAVISHNU_TEST_CLUSTER=kind|built overrules the
choice between the last two. `control_plane` is always a built one, private to a test module, whose parts it may kill.

With pytest-xdist a cluster is never shared between workers: an operator under test watches all namespaces, so it would
act on the objects of another worker's tests. All tests with `cluster` are put in one group: with `--dist loadgroup`
they share one worker and one cluster while the other workers run the rest; those of a module with a `control_plane`
are a group too, and run beside. With any other distribution each worker
that needs a cluster starts its own (500 MB, 3 s), which is as right and only larger. An existing cluster
(KUBECONFIG_TEST) is one cluster for all, so it wants `--dist loadgroup` or no xdist.

Binaries are built when tests are collected, not in a fixture: a first build takes longer than a test may.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

from .build import CONTROL_PLANE, BuildError, ensure
from .client import Cluster
from .controlplane import ControlPlane

FIXTURES = frozenset({"cluster", "control_plane"})
PROGRAMS = {"kubectl_binary": "kubectl", "helm_binary": "helm", "kubeconform_binary": "kubeconform"}
KIND_CONFIG = Path(__file__).resolve().parents[2] / "kind-config.yaml"
DOCKER_TIMEOUT = 20.0

Provider = Literal["existing", "kind", "built"]


def choose_provider(environ: Mapping[str, str], docker_answers: Callable[[], bool]) -> Provider:
    """Where the `cluster` fixture comes from. Raises UsageError for a setting that cannot be meant."""
    if kubeconfig := environ.get("KUBECONFIG_TEST"):
        if not Path(kubeconfig).is_file():  # kubectl would silently talk to localhost:8080
            raise pytest.UsageError(f"KUBECONFIG_TEST names {kubeconfig}, which is no file")
        return "existing"
    match environ.get("MAHAVISHNU_TEST_CLUSTER", ""):
        case "kind":
            if not docker_answers():
                raise pytest.UsageError("MAHAVISHNU_TEST_CLUSTER is kind, but no Docker daemon answers: start one")
            return "kind"
        case "built":
            return "built"
        case "":
            return "kind" if docker_answers() else "built"
        case other:
            raise pytest.UsageError(f"MAHAVISHNU_TEST_CLUSTER is {other!r}: set it to kind or built, or not at all")


def docker_daemon_answers() -> bool:
    """Whether there is a Docker client and a daemon that answers it."""
    if shutil.which("docker") is None:
        return False
    try:
        asked = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            timeout=DOCKER_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what needs a cluster: `-m "not cluster"` leaves it out, and xdist's loadgroup keeps it together."""
    for item in items:
        if FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.cluster)
            if config.pluginmanager.hasplugin("xdist"):
                item.add_marker(pytest.mark.xdist_group(_group(item)))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what the selected tests need, before any test's timeout runs."""
    _expect_groups(session)
    used = {name for item in session.items for name in getattr(item, "fixturenames", ())} & {
        *FIXTURES,
        *PROGRAMS,
    }
    if not used or session.config.option.collectonly:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    try:
        with capture.global_and_fixture_disabled():
            ensure([PROGRAMS[name] for name in sorted(used & PROGRAMS.keys())])
            if "control_plane" in used:
                ensure(CONTROL_PLANE)
            if "cluster" in used:
                ensure(_binaries_for(choose_provider(os.environ, docker_daemon_answers)))
    except BuildError:
        # Not the business of the tests that need no cluster: the fixture raises the same for those that do.
        return


def _group(item: pytest.Item) -> str:
    """Tests with a control plane of their module's own are one group a module: they need not wait for `cluster`."""
    if "cluster" in getattr(item, "fixturenames", ()):
        return "cluster"
    return f"control-plane-{item.path.stem}"


def _expect_groups(session: pytest.Session) -> None:
    """Raise UsageError where xdist does not keep a group together: each of its workers would start each cluster."""
    if session.config.getoption("loadgroup", default=False):
        for item in session.items:
            if item.get_closest_marker("xdist_group") and "@" not in item.nodeid:
                raise pytest.UsageError(f"the group of {item.nodeid} has no effect with this pytest and pytest-xdist")


def _binaries_for(provider: Provider) -> tuple[str, ...]:
    return {"existing": ("kubectl",), "kind": ("kubectl", "kind"), "built": CONTROL_PLANE}[provider]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster of this test session, as its administrator. Tests leave its components alone."""
    folder = tmp_path_factory.mktemp("cluster")
    provider = choose_provider(os.environ, docker_daemon_answers)
    binaries = ensure(_binaries_for(provider))
    match provider:
        case "existing":
            yield Cluster(Path(os.environ["KUBECONFIG_TEST"]), kubectl_binary=binaries["kubectl"], folder=folder)
        case "kind":
            yield from _kind_cluster(folder, binaries)
        case "built":
            with ControlPlane(folder, binaries=binaries) as plane:
                yield plane.cluster


def _kind_cluster(folder: Path, binaries: Mapping[str, Path]) -> Iterator[Cluster]:
    # Imported here: it loads an HTTP client and a Kubernetes client that no other test run needs.
    from pytest_kind import KindCluster

    # A name of its own: pytest-kind would take over a cluster of the same name, of which we have no kubeconfig.
    name = f"mahavishnu-{secrets.token_hex(4)}"
    kind = KindCluster(name, folder / "kubeconfig", kind_path=binaries["kind"], kubectl_path=binaries["kubectl"])
    try:
        kind.create(config_file=KIND_CONFIG)
        yield Cluster(folder / "kubeconfig", kubectl_binary=binaries["kubectl"], folder=folder)
    finally:
        kind.delete()
        shutil.rmtree(kind.path)  # where it would keep downloads, under the current folder


@pytest.fixture(scope="session")
def kubectl_binary() -> Path:
    """kubectl alone, for tests that bring a server of their own."""
    return ensure(("kubectl",))["kubectl"]


@pytest.fixture(scope="session")
def helm_binary() -> Path:
    """helm, pinned."""
    return ensure(("helm",))["helm"]


@pytest.fixture(scope="session")
def kubeconform_binary() -> Path:
    """kubeconform, which holds manifests against JSON schemas."""
    return ensure(("kubeconform",))["kubeconform"]


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A running control plane of this test module's own, to stop, kill and start parts of."""
    with ControlPlane(tmp_path_factory.mktemp("control-plane"), binaries=ensure(CONTROL_PLANE)) as plane:
        yield plane


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """The name of a fresh namespace in `cluster` whose default service account is there; deleted afterwards."""
    with fresh_namespace(cluster) as name:
        yield name


@contextmanager
def fresh_namespace(cluster: Cluster, **labels: str) -> Iterator[str]:
    """The name of a namespace with those labels, its default service account there: before, Pods would be refused."""
    name = f"test-{secrets.token_hex(5)}"
    spaces, accounts = "/api/v1/namespaces", f"/api/v1/namespaces/{name}/serviceaccounts"
    try:
        cluster.requests.send("POST", spaces, {"metadata": {"name": name, "labels": labels}})
        # A controller may have made it already.
        cluster.requests.send("POST", accounts, {"metadata": {"name": "default"}}, accept=(409,))
        yield name
    finally:
        cluster.requests.send("DELETE", f"{spaces}/{name}", accept=(404, 409))
