"""pytest fixtures for tests that need Pods to run: `node_cluster`, `node_namespace`, `worker_image`, `operator_image`.

`node_cluster` is the same choice as `cluster` (an existing one, kind, or built here), but the built one has a real node
beside it. A machine without a Docker daemon on which no node can run (it needs root and some packages) leaves these
tests out, says so in one line, and the run fails, unless ALLOW_MISSING=1 says that this is known: a test that is left
out in silence is one that nobody runs. `make test` installs the packages where it can.

These tests are two groups of xdist with a cluster each, apart from that of `cluster`: one after the other they took as
long as all other tests together.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.build import BuildError, ensure
from tests.cluster.client import Cluster
from tests.cluster.fixtures import choose_provider, docker_daemon_answers, fresh_namespace
from tests.images.building import Image, ensure_image, ensure_pause_image

from .cluster import NODE_CLUSTER, NodeCluster
from .configuration import PAUSE_IMAGE
from .node import METRICS, missing_for_node
from .simulation import kwok

FIXTURES = frozenset({"node_cluster", "built_node_cluster"})
# Modules that install something into the cluster as a whole, drain its node or add further ones; and two more, so that
# both groups take as long.
ON_THE_SECOND_NODE = frozenset(
    {
        "test_autoscaling",
        "test_chart_for_some_namespaces",
        "test_chart_install",
        "test_draining_the_node",
        "test_figures",
        "test_kubectl_install",
        "test_lifetime",
        "test_pods_that_cannot_start",
        "test_simulation",
        "test_sources",
    }
)
NOT_RUN = "not run on this machine:"
LOAD_TIMEOUT = 600.0
# The first test starts the cluster and imports images; a busy machine takes minutes for that.
TEST_TIMEOUT = 900


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what needs a node, keep it together, and leave it out where there can be none."""
    needing = [item for item in items if FIXTURES.intersection(getattr(item, "fixturenames", ()))]
    if not needing:
        return
    missing = missing_here()
    for item in needing:
        item.add_marker(pytest.mark.cluster)
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT))
        if config.pluginmanager.hasplugin("xdist"):
            item.add_marker(pytest.mark.xdist_group(_group(item)))
        if missing is not None:
            item.add_marker(pytest.mark.skip(reason=f"{NOT_RUN} {missing}"))


def _group(item: pytest.Item) -> str:
    return "second-node" if item.path.stem in ON_THE_SECOND_NODE else "node"


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what the selected tests need, before any test's timeout runs."""
    used = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if session.config.option.collectonly or not used & FIXTURES or missing_here() is not None:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    try:
        with capture.global_and_fixture_disabled():
            if choose_provider(os.environ, docker_daemon_answers) == "built":
                ensure(NODE_CLUSTER)
                ensure_pause_image(PAUSE_IMAGE)
            ensure(
                {"metrics": METRICS, "simulation": "kwok"}[name] for name in ("metrics", "simulation") if name in used
            )
            for name in ("worker", "operator", "gateway"):
                if f"{name}_image" in used:
                    ensure_image(name)
    except BuildError:
        # Not the business of the tests that need no node: the fixture raises the same for those that do.
        return


def missing_here() -> str | None:
    """Why no node can be had on this machine; None when one can."""
    if choose_provider(os.environ, docker_daemon_answers) != "built":
        return None
    return missing_for_node()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A run that left tests out fails, unless it was told to."""
    if (
        _left_out(session.config)
        and os.environ.get("ALLOW_MISSING") != "1"
        and session.exitstatus == pytest.ExitCode.OK
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The one line that says what was left out."""
    for reason, count in _left_out(terminalreporter.config).items():
        hint = "" if os.environ.get("ALLOW_MISSING") == "1" else " (ALLOW_MISSING=1 accepts that)"
        terminalreporter.write_line(f"{count} tests {reason}{hint}", red=True)


def _left_out(config: pytest.Config) -> dict[str, int]:
    """How many tests were left out, by reason; nothing in a worker of xdist, whose master has all reports."""
    reporter = config.pluginmanager.getplugin("terminalreporter")
    counted: dict[str, int] = {}
    for report in reporter.stats.get("skipped", ()) if reporter is not None else ():
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        if NOT_RUN in reason:
            reason = reason[reason.index(NOT_RUN) :]
            counted[reason] = counted.get(reason, 0) + 1
    return counted


@pytest.fixture(scope="session")
def built_node_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeCluster]:
    """A cluster with a node that was built here, for tests that look into the node or use its addresses."""
    if (missing := missing_for_node()) is not None:  # where kind has the other tests
        pytest.skip(f"{NOT_RUN} {missing}")
    folder = tmp_path_factory.mktemp("node-cluster")
    pause = ensure_pause_image(PAUSE_IMAGE)
    with NodeCluster(folder, binaries=ensure(NODE_CLUSTER), pause_image=pause.archive) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def metrics(built_node_cluster: NodeCluster) -> Cluster:
    """The cluster of `built_node_cluster`, where `kubectl top` answers soon."""
    built_node_cluster.start_metrics(ensure((METRICS,))[METRICS])
    return built_node_cluster.cluster


@pytest.fixture(scope="session")
def simulation(node_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """`node_cluster` with kwok, which plays the part of simulated nodes; see simulation.py."""
    process = kwok(node_cluster, binary=ensure(("kwok",))["kwok"], log=tmp_path_factory.mktemp("kwok") / "log")
    process.start()
    try:
        yield node_cluster
    finally:
        process.kill()


@pytest.fixture(scope="session")
def node_cluster(request: pytest.FixtureRequest) -> Cluster:
    """A cluster that runs Pods, as its administrator."""
    if choose_provider(os.environ, docker_daemon_answers) == "built":
        built: NodeCluster = request.getfixturevalue("built_node_cluster")
        return built.cluster
    existing: Cluster = request.getfixturevalue("cluster")
    return existing


@pytest.fixture(scope="session")
def load_image(request: pytest.FixtureRequest, node_cluster: Cluster) -> Callable[[Image], str]:
    """A function that gives the node an image, and returns the reference for a Pod with `imagePullPolicy: Never`."""

    def load(image: Image) -> str:
        if choose_provider(os.environ, docker_daemon_answers) == "built":
            request.getfixturevalue("built_node_cluster").node.import_image(image.archive)
        else:
            _load_into_kind(node_cluster, image.archive)
        return image.reference

    return load


def _load_into_kind(cluster: Cluster, archive: Path) -> None:
    context = cluster.kubectl("config", "current-context").stdout.strip()
    if not context.startswith("kind-"):
        pytest.fail(f"images can be loaded into kind alone, and the current context is {context}", pytrace=False)
    command = [str(ensure(("kind",))["kind"]), "load", "image-archive", str(archive)]
    subprocess.run([*command, "--name", context.removeprefix("kind-")], check=True, timeout=LOAD_TIMEOUT)


@pytest.fixture(scope="session")
def worker_image(load_image: Callable[[Image], str]) -> str:
    """The reference of the worker's image, with all scanners, which the node has."""
    return load_image(ensure_image("worker"))


@pytest.fixture(scope="session")
def operator_image(load_image: Callable[[Image], str]) -> str:
    """The reference of the operator's image, which the node has."""
    return load_image(ensure_image("operator"))


@pytest.fixture(scope="session")
def gateway_image(load_image: Callable[[Image], str]) -> str:
    """The reference of the gateway's image, which the node has."""
    return load_image(ensure_image("gateway"))


@pytest.fixture
def node_namespace(node_cluster: Cluster) -> Iterator[str]:
    """A fresh namespace in `node_cluster` that admits restricted Pods alone; deleted afterwards with all in it."""
    with fresh_namespace(node_cluster, **{"pod-security.kubernetes.io/enforce": "restricted"}) as name:
        yield name
