"""The operator as it is installed: in a Pod of the tests' node, on a volume, beside namespaces in which pools work.

The node has no provisioner of volumes, so a place brings its own. It all is cluster-wide in the end (the kinds, rights,
policies), therefore a place is one test module's and leaves nothing: other modules run operators of their own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mahavishnu_operator.api.reasons import API_VERSION
from tests.cluster.client import Cluster
from tests.cluster.node.cluster import NodeCluster
from tests.integration.operator_tools import CRDS

from .pods import WAIT, until

OURS = "app.kubernetes.io/name=mahavishnu-operator"
CLUSTER_WIDE = "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings"
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"
PYTHON = "/opt/mahavishnu/bin/python"  # of the images
# Says that it began, and which process it is, and goes on until it is let.
GATED = (
    "import os, sys, time\n"
    "with open(sys.argv[1], 'a') as said: said.write(f'{os.getpid()} {time.time()}\\n')\n"
    "while not os.path.exists(sys.argv[1] + '.go'): time.sleep(0.05)\n"
)
SMALL = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "2", "memory": "512Mi"}}


@dataclass(frozen=True)
class Place:
    """Namespaces for an operator and for its pools, both restricted, and a volume that the operator's claim takes."""

    cluster: Cluster
    system: str
    team: str
    storage_class: str
    folder: Path

    def kubectl(self, *arguments: str, check: bool = True, input: str | None = None) -> str:
        """What kubectl says, in the pools' namespace."""
        return self.cluster.kubectl("-n", self.team, *arguments, check=check, input=input, timeout=2 * WAIT).stdout

    def wait(self, condition: str, *what: str, namespace: str = "") -> None:
        """Return once the condition is true."""
        self.kubectl(*(("-n", namespace) if namespace else ()), "wait", condition, *what, f"--timeout={WAIT:g}s")

    def operator_pod(self) -> dict[str, Any]:
        """The one Pod of the operator that is not on its way out."""
        found = self.cluster.json(
            "get", "pods", "-n", self.system, "-l", f"{OURS},app.kubernetes.io/component=operator"
        )
        (pod,) = [pod for pod in found["items"] if "deletionTimestamp" not in pod["metadata"]]
        return dict(pod)

    def operator_log(self) -> str:
        """What the operator said, shown when a test fails; empty when there is none."""
        logs = ("-n", self.system, "logs", "-l", f"{OURS},app.kubernetes.io/component=operator", "--tail=40")
        return self.kubectl(*logs, check=False) + self.kubectl(*logs, "--previous", check=False)

    def workers(self) -> list[dict[str, Any]]:
        """The worker Pods that are not on their way out."""
        return self._pods(self.team, "app.kubernetes.io/component=worker")

    def pool(self, name: str, **spec: Any) -> None:
        """Make a WorkerPool of one small Pod."""
        kubernetes = {"resources": SMALL} | spec.pop("kubernetes", {})
        fields = {"backend": "kubernetes", "allowedCommands": ["any"], "drain": {"graceSeconds": 1}} | spec
        self.create(API_VERSION, "WorkerPool", name, fields | {"kubernetes": kubernetes})

    def job(self, name: str, *commands: list[str], pool: str) -> None:
        """Make a ScanJob of commands."""
        tasks = [{"id": f"t{number}", "command": command} for number, command in enumerate(commands)]
        self.create(API_VERSION, "ScanJob", name, {"poolRef": {"name": pool}, "tasks": tasks})

    def scan(self, name: str, source: dict[str, Any], *tools: str, pool: str) -> None:
        """Make a ScanJob of tools, which passes whatever they find."""
        scan = {"tools": list(tools), "failOn": "none"}
        self.create(API_VERSION, "ScanJob", name, {"poolRef": {"name": pool}, "source": source, "scan": scan})

    def create(self, version: str, kind: str, name: str, spec: dict[str, Any]) -> None:
        """Make any object in the pools' namespace, or of the cluster."""
        manifest = {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}
        self.kubectl("create", "-f", "-", input=json.dumps(manifest))

    def status(self, kind: str, name: str) -> dict[str, Any]:
        """What has become of it."""
        return dict(self.cluster.json("get", kind, name, "-n", self.team).get("status") or {})

    def completed(self, name: str) -> dict[str, Any]:
        """The counts of a job, without zeros, once it is complete."""
        self.wait("--for=condition=Complete", f"scanjob/{name}")
        return {count: number for count, number in self.status("scanjob", name)["tasks"].items() if number}

    def hold(self, name: str, *, pool: str) -> str:
        """Make a job of one task that runs until `let_go`, and return the worker that has begun it."""
        self.job(name, [PYTHON, "-c", GATED, name], pool=pool)

        def worker() -> str | None:
            return next((w for w in map(_name, self.workers()) if self.said(name, worker=w)), None)

        return until(worker)

    def said(self, name: str, *, worker: str) -> str:
        """What the task of a held job wrote, a line each time that it began."""
        return self._beside(worker, name, "cat", "{}")

    def let_go(self, name: str, *, worker: str) -> None:
        """Let the task of a held job end."""
        self._beside(worker, name, "touch", "{}.go")

    def alive(self, pid: str, *, worker: str) -> bool:
        """Whether that process of the task runs."""
        return bool(self.kubectl("exec", worker, "-c", "runner", "--", "cat", f"/proc/{pid}/stat", check=False))

    def _beside(self, worker: str, file: str, *command: str) -> str:
        """Run a command in a worker's Pod on a file that a task made in its folder, if it is there."""
        find = ("find", "/workspace", "-name", file, "-exec", *command, ";")
        return self.kubectl("exec", worker, "-c", "runner", "--", *find, check=False)

    def _pods(self, namespace: str, selector: str) -> list[dict[str, Any]]:
        found = self.cluster.json("get", "pods", "-n", namespace, "-l", selector)
        return [pod for pod in found["items"] if "deletionTimestamp" not in pod["metadata"]]


@contextmanager
def made_place(built: NodeCluster, folder: Path, *, system: str, team: str) -> Iterator[Place]:
    """A place whose volume is `folder`; whatever was installed there is removed afterwards, and seen to be gone."""
    cluster, storage_class = built.cluster, f"{system}-volumes"
    place = Place(cluster, system, team, storage_class, folder)
    for namespace in (system, team):
        cluster.kubectl("create", "namespace", namespace)
        cluster.kubectl("label", "namespace", namespace, RESTRICTED)
    cluster.kubectl("create", "-f", "-", input=json.dumps(_volume(built, place)))
    try:
        yield place
    finally:
        print(place.operator_log())
        remove_all(place)
        shutil.rmtree(folder)


def remove_all(place: Place) -> None:
    """What the chart's README says removes everything; each of these waits until it is done."""
    cluster = place.cluster
    for what in (
        # First, because a namespace in which Pods or claims are left is looked at again many seconds later.
        ("deployments,pods,pvc", "--all", "-n", place.system),
        ("pods,pvc", "--all", "-n", place.team, "--wait=false"),
        ("namespace", place.system, place.team),
        ("-f", str(CRDS)),
        (CLUSTER_WIDE, "-l", OURS),
        (f"persistentvolume/{place.storage_class}", f"storageclass/{place.storage_class}"),
    ):
        cluster.kubectl("delete", "--ignore-not-found", f"--timeout={WAIT:g}s", *what, timeout=2 * WAIT)


def split(reference: str) -> tuple[str, str, str]:
    """Registry, repository and tag of an image's reference."""
    registry, _, rest = reference.partition("/")
    repository, _, tag = rest.rpartition(":")
    return registry, repository, tag


def _name(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["name"])


def _volume(built: NodeCluster, place: Place) -> dict[str, Any]:
    metadata = {"name": place.storage_class}
    node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [built.node.name]}
    volume = {
        "capacity": {"storage": "5Gi"},
        "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": place.storage_class,
        "local": {"path": str(place.folder)},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [node]}]}},
    }
    items = [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": metadata,
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        },
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": volume},
    ]
    return {"apiVersion": "v1", "kind": "List", "items": items}
