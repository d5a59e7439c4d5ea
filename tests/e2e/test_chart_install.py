"""The chart installed on a node by helm: ready, upgraded and rolled back under a running job, removed, taken over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster.helm import Helm
from tests.cluster.node.cluster import NodeCluster
from tests.cluster.node.configuration import CONTAINERD_SOCKET
from tests.images.building import Image, ensure_image, ensure_image_on

from .helm_release import NAME, Release
from .installing import CLUSTER_WIDE, OURS, Place, made_place
from .pods import until

POOL = "warm"
OWN = "ARG BASE\nFROM ${BASE} AS own-tools\nCOPY greet /usr/local/bin/greet\n"


@pytest.fixture(scope="module")
def place(built_node_cluster: NodeCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("volume")
    with made_place(built_node_cluster, folder, system="chart-system", team="chart-team") as made:
        yield made


@pytest.fixture(scope="module")
def release(helm: Helm, place: Place, operator_image: str, worker_image: str) -> Release:
    """The chart, installed."""
    installed = Release(helm, place, (operator_image, worker_image))
    installed.put("install")
    place.pool(POOL)
    return installed


@pytest.fixture(scope="module")
def next_tag(built_node_cluster: NodeCluster, release: Release, operator_image: str, worker_image: str) -> str:
    """A tag under which the node has both images again, as those of a next version."""
    for reference in (operator_image, worker_image):
        again = f"{reference.rpartition(':')[0]}:next"
        ctr = ("ctr", f"--address={CONTAINERD_SOCKET}", "--namespace=k8s.io", "images", "tag", "--force")
        built_node_cluster.node.run(*ctr, reference, again)
    return "next"


def test_the_operator_is_ready_on_its_volume(release: Release, place: Place) -> None:
    (container,) = place.operator_pod()["status"]["containerStatuses"]
    assert (container["ready"], container["restartCount"]) == (True, 0)
    claim = place.cluster.json("get", "pvc", NAME, "-n", place.system)
    assert (claim["status"]["phase"], claim["spec"]["volumeName"]) == ("Bound", place.storage_class)
    assert list(place.folder.glob("*.sqlite*")) or list(place.folder.glob("*.db*")), list(place.folder.iterdir())


def test_a_job_of_commands_is_done_in_pods(release: Release, place: Place) -> None:
    place.job("hello", ["echo", "hello"], ["true"], pool=POOL)
    assert place.completed("hello") == {"total": 2, "succeeded": 2}


def test_helm_test_finds_it_well(release: Release) -> None:
    assert "Phase:          Succeeded" in release.run("test")


def test_workers_may_run_an_image_that_somebody_built_on_ours(
    release: Release, place: Place, load_image: Callable[[Image], str]
) -> None:
    files = {"greet": '#!/bin/sh\nexec echo hello "$1"\n'}
    own = ensure_image_on(ensure_image("worker-base"), name="own-tools", containerfile=OWN, files=files)
    place.pool("own", kubernetes={"image": load_image(own)})
    place.job("greeting", ["greet", "world"], pool="own")
    assert place.completed("greeting") == {"total": 1, "succeeded": 1}
    place.kubectl("delete", "workerpool", "own")


def test_a_job_goes_on_through_an_upgrade_and_its_worker_is_replaced_afterwards(
    release: Release, place: Place, next_tag: str
) -> None:
    worker = place.hold("upgraded", pool=POOL)
    before = place.operator_pod(), seen(place, worker), place.said("upgraded", worker=worker)
    release.put("upgrade", **{"image.tag": next_tag, "workerImage.tag": next_tag})
    operator = place.operator_pod()
    assert operator["metadata"]["uid"] != before[0]["metadata"]["uid"]
    assert operator["spec"]["containers"][0]["image"].endswith(f":{next_tag}")
    finish_undisturbed(place, "upgraded", worker, *before[1:])
    newer = until(lambda: ",".join(images(place)) if images(place) == {next_tag} else None)
    assert newer == next_tag


def test_a_job_goes_on_through_a_rollback(release: Release, place: Place, next_tag: str) -> None:
    worker = place.hold("rolled-back", pool=POOL)
    before = place.operator_pod(), seen(place, worker), place.said("rolled-back", worker=worker)
    release.run("rollback", "1", "--wait")
    operator = place.operator_pod()
    assert operator["metadata"]["uid"] != before[0]["metadata"]["uid"]
    assert not operator["spec"]["containers"][0]["image"].endswith(f":{next_tag}")
    finish_undisturbed(place, "rolled-back", worker, *before[1:])


def test_an_uninstall_leaves_workers_at_work_and_a_new_install_takes_them_over(release: Release, place: Place) -> None:
    place.job("done-before", ["true"], pool=POOL)
    place.completed("done-before")
    worker = place.hold("taken-over", pool=POOL)
    before = seen(place, worker), place.said("taken-over", worker=worker)
    release.run("uninstall", "--wait")
    place.wait("--for=delete", "pod", "-l", f"{OURS},app.kubernetes.io/component=operator", namespace=place.system)
    assert left_in(place) == {f"persistentvolumeclaim/{NAME}", f"secret/{NAME}-tls"}
    assert seen(place, worker) == before[0]

    release.put("install")
    finish_undisturbed(place, "taken-over", worker, *before)
    assert place.status("scanjob", "done-before")["phase"] == "Succeeded"


def test_with_the_operator_gone_every_deletion_completes(release: Release, place: Place) -> None:
    place.hold("never-done", pool=POOL)
    release.run("uninstall", "--wait")
    place.kubectl("delete", "workerpool", POOL, "--timeout=120s")
    until(lambda: "gone" if not place.kubectl("get", "pods", "-o", "name") else None)
    place.kubectl("delete", "namespace", place.team, place.system, "--timeout=120s")
    place.kubectl("delete", "crd", "workerpools.mahavishnu.dev", "scanjobs.mahavishnu.dev", "--timeout=120s")
    assert place.cluster.kubectl("get", CLUSTER_WIDE, "-l", OURS, "-o", "name").stdout == ""


def seen(place: Place, worker: str) -> tuple[str, list[tuple[str, int, Any]]]:
    """Which Pod it is, and since when each of its containers runs, after how many starts."""
    pod = place.cluster.json("get", "pod", worker, "-n", place.team)
    states = pod["status"]["containerStatuses"]
    return pod["metadata"]["uid"], [(each["name"], each["restartCount"], each["state"]) for each in states]


def finish_undisturbed(place: Place, job: str, worker: str, pod: object, said: str) -> None:
    """The task of the job runs where it ran, as the same process, and then the job is complete after this one try."""
    assert seen(place, worker) == pod
    assert place.said(job, worker=worker) == said
    assert len(said.splitlines()) == 1
    assert place.alive(said.split()[0], worker=worker)
    place.let_go(job, worker=worker)
    assert place.completed(job) == {"total": 1, "succeeded": 1}


def images(place: Place) -> set[str]:
    """The tags of what workers run."""
    return {c["image"].rpartition(":")[2] for pod in place.workers() for c in pod["spec"]["containers"]}


def left_in(place: Place) -> set[str]:
    """What of ours is left in the operator's namespace."""
    kinds = "deploy,po,svc,sa,secret,netpol,pdb,pvc,cm"
    return set(place.cluster.kubectl("get", kinds, "-n", place.system, "-l", OURS, "-o", "name").stdout.split())
