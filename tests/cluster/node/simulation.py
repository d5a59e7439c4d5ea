"""Simulated nodes and Pods, by kwok: objects that behave as hundreds of machines would, at the cost of their writes.

They are for questions of scale (scheduling, watching, counting); nothing runs in them. A Pod gets there by tolerating
the taint TAINT and choosing the label of the nodes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.cluster.client import Cluster
from tests.cluster.process import Program, ServerProcess

# What kwok writes when, in the life of a node and of a Pod.
STAGES = Path(__file__).with_name("stages.yaml")
LABEL = {"type": "kwok"}
LEASE_SECONDS = 40  # as a kubelet's: without a Lease that is renewed, a node is lost 50 s after it came
TAINT = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}


def kwok(cluster: Cluster, *, binary: Path, log: Path) -> ServerProcess:
    """The process that keeps simulated nodes ready and plays their Pods' life, not started."""
    flags = (
        f"--kubeconfig={cluster.kubeconfig}",
        "--manage-nodes-with-label-selector=type=kwok",
        f"--node-lease-duration-seconds={LEASE_SECONDS}",
        f"--config={STAGES}",
    )

    # It says nothing about readiness without a port; what it does shows in its nodes.
    return ServerProcess(Program("kwok", (str(binary), *flags), lambda: None), log)


def simulated_node(name: str, *, cpu: str = "32", memory: str = "256Gi", pods: str = "110") -> dict[str, Any]:
    """A Node for kwok."""
    capacity = {"cpu": cpu, "memory": memory, "pods": pods}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {**LABEL, "kubernetes.io/hostname": name}},
        "spec": {"taints": [TAINT]},
        "status": {"allocatable": capacity, "capacity": capacity},
    }


def on_simulated_nodes(pod_spec: dict[str, Any]) -> dict[str, Any]:
    """The Pod's spec, to run on simulated nodes alone."""
    return {**pod_spec, "nodeSelector": LABEL, "tolerations": [{"key": TAINT["key"], "operator": "Exists"}]}


def apply(cluster: Cluster, objects: list[dict[str, Any]]) -> None:
    """Create or update them all in one kubectl. Raises KubectlError."""
    cluster.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
