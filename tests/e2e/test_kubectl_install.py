"""`kubectl apply -k deploy/` on a node, as heads of kustomizations say: jobs are done in Pods, and agents call."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastmcp.client.auth import BearerAuth

from tests.cluster.node.cluster import NodeCluster
from tests.integration.callers_tools import AUDIENCE, EVERYTHING, make_accounts, until_allowed
from tests.integration.gateway_tools import agent_of
from tests.integration.operator_tools import CRDS, DEPLOY, SYSTEM

from .agents import SERVICE, forwarded, status_without_token, trust
from .installing import Place, made_place, split

HEAD = (DEPLOY / "kustomization.yaml").read_text()
GATEWAY_HEAD = (DEPLOY / "gateway" / "kustomization.yaml").read_text()


@pytest.fixture
def place(built_node_cluster: NodeCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("volume")
    with made_place(built_node_cluster, folder, system=SYSTEM, team="kubectl-team") as made:
        yield made


async def test_the_manifests_install_an_operator_whose_pools_have_pods_and_a_gateway(
    place: Place, operator_image: str, worker_image: str, gateway_image: str, tmp_path: Path
) -> None:
    place.cluster.install_kinds(CRDS)
    place.kubectl("apply", "-f", str(DEPLOY / "namespace.yaml"))
    make_certificate(place, HEAD, tmp_path)
    (tmp_path / "kustomization.yaml").write_text(overlay(place, tmp_path, operator_image, worker_image))
    place.cluster.kubectl("apply", "-k", str(tmp_path))
    place.kubectl("-n", SYSTEM, "rollout", "status", "deployment/mahavishnu-operator", "--timeout=300s")
    place.pool("first")
    place.job("hello", ["echo", "hello"], pool="first")
    assert place.completed("hello") == {"total": 1, "succeeded": 1}
    await call_the_gateway(place, gateway_image, tmp_path / "gateway")


async def call_the_gateway(place: Place, image: str, folder: Path) -> None:
    """Install it as the head of its kustomization says, and call it by the token of an account."""
    folder.mkdir()
    make_certificate(place, GATEWAY_HEAD, folder)
    registry, repository, tag = split(image)
    images = [{"name": "mahavishnu-gateway", "newName": f"{registry}/{repository}", "newTag": tag}]
    made = {"resources": [os.path.relpath(DEPLOY / "gateway", folder.resolve())], "images": images}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(made))
    place.cluster.kubectl("apply", "-k", str(folder))
    place.kubectl("-n", SYSTEM, "rollout", "status", f"deployment/{SERVICE}", "--timeout=300s")
    make_accounts(place.cluster, place.team, {"agent": EVERYTHING})
    until_allowed(place.cluster, f"system:serviceaccount:{place.team}:agent", "create", "scanjobs", "-n", place.team)
    token, trusted = place.kubectl("create", "token", "agent", f"--audience={AUDIENCE}").strip(), trust(place)
    with forwarded(place, folder) as url:
        assert status_without_token(url, trusted) == 401
        async with agent_of(url, auth=BearerAuth(token), verify=trusted) as agent:
            ran = await agent.call("pool_execute", pool_id=f"{place.team}/first", prompt="echo seen")
            assert (ran["output"], ran["exit_code"]) == ("seen\n", 0), ran


def make_certificate(place: Place, head: str, folder: Path) -> None:
    """The certificate that a head shows, as the Secret that it shows."""
    openssl, secret = as_typed("openssl", head), as_typed("kubectl create secret", head)
    subprocess.run(openssl, cwd=folder, check=True, capture_output=True, timeout=60)
    place.kubectl(*(re.sub(r"=(\w+\.(?:crt|key))$", rf"={folder}/\1", part) for part in secret[1:]))


def as_typed(beginning: str, head: str) -> list[str]:
    """The arguments of a command in the head of a kustomization."""
    text = head.replace("\\\n#", "")
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
