"""The operator when the API server fails it: away for a while, without our kinds, or for good."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from tests.cluster.controlplane import ControlPlane

from .operator_tools import CRDS, GATED, NOTE, OperatorProcess, Site, account, counts, deploy, poll, python, written


@pytest.fixture
async def site(control_plane: ControlPlane) -> AsyncIterator[Site]:
    """A namespace of an API server that may be stopped, with our kinds."""
    deploy(control_plane.cluster)
    control_plane.cluster.kubectl("delete", "workerpools.mahavishnu.dev,scanjobs.mahavishnu.dev", "--all")
    resources = KubernetesResources(Connection.from_kubeconfig(control_plane.kubeconfig))
    yield Site(control_plane.cluster, resources, "default")
    await resources.close()


async def test_a_running_task_outlives_the_api_server(site: Site, control_plane: ControlPlane, tmp_path: Path) -> None:
    began, gate = tmp_path / "began", tmp_path / "gate"
    with OperatorProcess(account(site.cluster), tmp_path, root=tmp_path) as operator:
        await site.pool()
        await site.commands("job", python(GATED, began, gate), python(NOTE, tmp_path / "after"))
        await written(began)
        control_plane.kill("kube-apiserver")
        gate.touch()
        await written(tmp_path / "after")
        control_plane.start("kube-apiserver")
        assert counts(await site.ended("job")) == {"total": 2, "succeeded": 2}
        await site.commands("next", ["true"])
        assert (await site.ended("next"))["phase"] == "Succeeded"
        operator.get("/healthz")
    assert (tmp_path / "after").read_text() == began.read_text().replace("began", "ran") == "ran\n"


async def test_kinds_that_are_installed_later_are_waited_for(site: Site, tmp_path: Path) -> None:
    site.kubectl("delete", "-f", str(CRDS))
    operator = OperatorProcess(account(site.cluster), tmp_path, root=tmp_path)
    try:
        operator.process.start()
        await operator.until_unhealthy("kubectl apply -f crds/")
        deploy(site.cluster)
        operator.process.wait_ready()
        await site.pool()
        await site.commands("job", ["true"])
        assert (await site.ended("job"))["phase"] == "Succeeded"
    finally:
        operator.close()


async def test_the_loss_of_the_watch_ends_it_in_words(site: Site, tmp_path: Path) -> None:
    with OperatorProcess(account(site.cluster), tmp_path, root=tmp_path) as operator:
        await site.pool()
        await site.ready(1)
        site.kubectl("delete", "-f", str(CRDS))
        await poll(lambda: not operator.process.running)
        assert operator.process.exit_code == 1
        said = operator.process.log.read_text()
        assert "error: the watch on the API server ended by itself: " in said
        assert "hint: start the operator again" in said


async def test_it_can_be_stopped_while_the_api_server_is_away(
    site: Site, control_plane: ControlPlane, tmp_path: Path
) -> None:
    with OperatorProcess(account(site.cluster), tmp_path, root=tmp_path) as operator:
        control_plane.kill("kube-apiserver")
        operator.process.stop(timeout=15)
        assert operator.process.exit_code == 0
        operator.process.start()
        await operator.until_unhealthy("cannot be reached")
        # a liveness probe does not start it again and again meanwhile
        assert operator.get("/livez") == b'{"status":"ok"}'
        operator.process.stop(timeout=15)
        assert operator.process.exit_code == 0
        control_plane.start("kube-apiserver")
