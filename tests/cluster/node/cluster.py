"""A whole cluster with one real node: a control plane on this machine and a node in namespaces beside it.

Ready in about ten seconds; several may run at once (see network.py). Pods reach the machine at `network.host_ip`, and
this machine's processes reach Pods and Services by their addresses, so an operator under test may run in a Pod or here.
Names of Services are known to Pods alone. NetworkPolicies are accepted and not enforced.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.cluster.build import CONTROL_PLANE
from tests.cluster.client import KUBECTL_TIMEOUT, Cluster
from tests.cluster.components import Beside
from tests.cluster.controlplane import ControlPlane

from .addons import NAMESPACE, dns_objects, metrics_objects
from .node import BINARIES, READY_TIMEOUT, Node

NODE_CLUSTER = (*CONTROL_PLANE, *BINARIES)


class NodeCluster:
    """A control plane and a node; a context manager like ControlPlane."""

    def __init__(self, folder: Path, *, binaries: Mapping[str, Path], pause_image: Path) -> None:
        """Prepare; `folder` is an existing empty one, `binaries` those of NODE_CLUSTER. Raises ClusterError.

        `pause_image` is an archive with the image PAUSE_IMAGE, which holds every Pod's namespaces.
        """
        if any(folder.iterdir()):
            raise ValueError(f"{folder} is not empty: a cluster needs a folder of its own")
        self.folder = folder
        self._binaries = binaries
        self._pause_image = pause_image
        for name in ("control-plane", "node"):
            (folder / name).mkdir()
        self.node = Node(folder / "node")
        self.network = self.node.network
        try:
            self.plane = ControlPlane(
                folder / "control-plane",
                binaries=binaries,
                beside=Beside(
                    host=self.network.host_ip,
                    pod_cidr=self.network.pod_cidr,
                    service_cidr=self.network.service_cidr,
                    service_ip=self.network.api_service_ip,
                ),
            )
        except BaseException:
            self.node.close()
            raise

    @property
    def cluster(self) -> Cluster:
        """The cluster as its administrator sees it."""
        return self.plane.cluster

    def start(self) -> None:
        """Start everything and wait until Pods run and find each other by name. Raises ClusterError, KubectlError."""
        self.plane.start(timeout=READY_TIMEOUT)
        # The namespaces of the system are made by a controller, a moment after the API server is ready.
        self._wait("--for=create", f"namespace/{NAMESPACE}")
        self._apply(dns_objects(self.network))
        self.node.start(
            self.plane.identities,
            kubelet_client=self.plane.kubelet_client,
            binaries=self._binaries,
            tls=self.plane.identities.admin_tls(),
        )
        self.node.import_image(self._pause_image)
        self._wait("--for=create", f"node/{self.node.name}")
        self._wait("--for=condition=Ready", f"node/{self.node.name}")

    def start_metrics(self, binary: Path) -> None:
        """Start the metrics server: figures follow half a minute later. Raises ClusterError, KubectlError."""
        self.node.start_metrics(binary)
        self._apply(metrics_objects(self.network, authority=self.plane.identities.authority.certificate))
        self._wait("--for=condition=Available", "apiservice/v1beta1.metrics.k8s.io")

    def _apply(self, objects: list[dict[str, Any]]) -> None:
        objects_list = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.cluster.kubectl("apply", "-f", "-", input=json.dumps(objects_list))

    def _wait(self, condition: str, name: str) -> None:
        wait = ("wait", condition, name, f"--timeout={READY_TIMEOUT:g}s")
        self.cluster.kubectl(*wait, timeout=READY_TIMEOUT + KUBECTL_TIMEOUT)

    def close(self) -> None:
        """End everything; logs stay. May be called again."""
        self.node.close()
        self.plane.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
