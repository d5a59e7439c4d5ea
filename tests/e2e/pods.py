"""Pods that restricted Pod Security admits, and waiting for them."""

import json
import time
from collections.abc import Callable
from typing import Any

from tests.cluster.client import Cluster

WAIT = 300.0
NOT_ROOT = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
CONFINED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def pod(
    name: str,
    *,
    image: str,
    command: list[str] | None = None,
    args: list[str] | None = None,
    labels: dict[str, str] | None = None,
) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "Never",
        "securityContext": CONFINED,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    container |= {"command": command} if command else {}
    container |= {"args": args} if args else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "securityContext": dict(NOT_ROOT),
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }


def sleeper(name: str, image: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    return pod(name, image=image, command=["sleep", "600"], labels=labels)


def create(cluster: Cluster, namespace: str, manifest: dict[str, Any]) -> None:
    cluster.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(manifest))


def run_pod(cluster: Cluster, namespace: str, manifest: dict[str, Any]) -> None:
    """Create the Pod and return when it has succeeded; fail with its state when it has failed."""
    create(cluster, namespace, manifest)
    name = manifest["metadata"]["name"]

    def ended() -> str | None:
        phase = cluster.json("get", "pod", name, "-n", namespace)["status"]["phase"]
        return phase if phase in {"Succeeded", "Failed"} else None

    phase = until(ended)
    assert phase == "Succeeded", cluster.kubectl("describe", "pod", name, "-n", namespace).stdout


def evict(cluster: Cluster, namespace: str, name: str) -> str:
    """Ask for the Pod's eviction; why it was refused, empty when it was not."""
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": namespace},
    }
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/eviction"
    return cluster.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(eviction), check=False).stderr


def until(ask: Callable[[], str | None]) -> str:
    """Ask until there is an answer."""
    deadline = time.monotonic() + WAIT
    while not (answer := ask()):
        assert time.monotonic() < deadline, "no answer in time"
        time.sleep(0.2)
    return answer
