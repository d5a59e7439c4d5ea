"""`kubectl apply -k deploy/` on a node, as the head of its kustomization says: ready, and a job is done in Pods."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.node.cluster import NodeCluster
from tests.integration.operator_tools import CRDS, DEPLOY, SYSTEM

from .installing import Place, made_place

HEAD = (DEPLOY / "kustomization.yaml").read_text()


@pytest.fixture
def place(built_node_cluster: NodeCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("volume")
    with made_place(built_node_cluster, folder, system=SYSTEM, team="kubectl-team") as made:
        yield made


def test_the_manifests_install_an_operator_whose_pools_have_pods(
    place: Place, operator_image: str, worker_image: str, tmp_path: Path
) -> None:
    place.cluster.install_kinds(CRDS)
    place.kubectl("apply", "-f", str(DEPLOY / "namespace.yaml"))
    openssl, secret = as_typed("openssl"), as_typed("kubectl create secret")
    subprocess.run(openssl, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    place.kubectl(*(part.replace("=tls.", f"={tmp_path}/tls.") for part in secret[1:]))
    (tmp_path / "kustomization.yaml").write_text(overlay(place, tmp_path, operator_image, worker_image))
    place.cluster.kubectl("apply", "-k", str(tmp_path))
    place.kubectl("-n", SYSTEM, "rollout", "status", "deployment/mahavishnu-operator", "--timeout=300s")
    place.pool("first")
    place.job("hello", ["echo", "hello"], pool="first")
    assert place.completed("hello") == {"total": 1, "succeeded": 1}


def as_typed(beginning: str) -> list[str]:
    """The arguments of a command in the head of the kustomization."""
    text = HEAD.replace("\\\n#", "")
    (line,) = re.findall(rf"^#   ({re.escape(beginning)}.*)$", text, re.MULTILINE)
    return [part.strip("'") for part in re.findall(r"'[^']*'|\S+", line)]


def overlay(place: Place, folder: Path, operator: str, worker: str) -> str:
    """The kustomization that the head shows, with the images of the tests, and with a class for the volume."""
    shown = re.search(r"^#   resources:.*?(?=^[^#])", HEAD, re.MULTILINE | re.DOTALL)
    assert shown is not None
    text = re.sub(r"^# {0,3}", "", shown[0], flags=re.MULTILINE)
    made: dict[str, Any] = yaml.safe_load(text.replace("REGISTRY/mahavishnu-worker:0.1.0", worker))
    made["resources"] = [os.path.relpath(DEPLOY, folder.resolve())]
    name, _, tag = operator.rpartition(":")
    made["images"][0] |= {"newName": name, "newTag": tag}
    claim = [{"op": "add", "path": "/spec/storageClassName", "value": place.storage_class}]
    made["patches"].append({"target": {"kind": "PersistentVolumeClaim"}, "patch": yaml.safe_dump(claim)})
    return yaml.safe_dump(made)
