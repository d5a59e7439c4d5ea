"""The objects by which the cluster finds the DNS and metrics servers of the node, which are no Pods.

Images of them cannot be pulled everywhere, so they run as processes of the node: Services without selectors, whose
endpoints are written here.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from tests.cluster.controlplane import KUBELET_CLIENT

from .configuration import DNS_PORT, METRICS_PORT
from .network import Network

NAMESPACE = "kube-system"


def dns_objects(network: Network) -> list[dict[str, Any]]:
    """Manifests to apply once, when the API server is ready: DNS, and the API server's right to ask the kubelet."""
    dns = [("dns", "UDP", 53, DNS_PORT), ("dns-tcp", "TCP", 53, DNS_PORT)]
    return [
        *_service("kube-dns", network, ports=dns, cluster_ip=network.dns_ip),
        _binding("kubelet-api", role="system:kubelet-api-admin", user=KUBELET_CLIENT),
    ]


def metrics_objects(network: Network, *, authority: Path) -> list[dict[str, Any]]:
    """Manifests to apply when the metrics server runs; `authority` signed its certificate.

    Not earlier: while an aggregated API does not answer, no namespace can be deleted.
    """
    return [
        *_service("metrics-server", network, ports=[("https", "TCP", 443, METRICS_PORT)]),
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": {"namespace": NAMESPACE, "name": "metrics-server"},
                "caBundle": base64.b64encode(authority.read_bytes()).decode(),
            },
        },
    ]


def _service(
    name: str, network: Network, *, ports: list[tuple[str, str, int, int]], cluster_ip: str | None = None
) -> list[dict[str, Any]]:
    """A Service and its EndpointSlice on the node's address; ports are (name, protocol, port, target port)."""
    spec: dict[str, Any] = {
        "ports": [
            {"name": port, "protocol": protocol, "port": number, "targetPort": target}
            for port, protocol, number, target in ports
        ]
    }
    if cluster_ip is not None:
        spec["clusterIP"] = cluster_ip
    endpoints = [{"name": port, "protocol": protocol, "port": target} for port, protocol, _, target in ports]
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{name}-node",
                "namespace": NAMESPACE,
                "labels": {"kubernetes.io/service-name": name, "endpointslice.kubernetes.io/managed-by": "tests"},
            },
            "addressType": "IPv4",
            "ports": endpoints,
            "endpoints": [{"addresses": [network.node_ip], "conditions": {"ready": True}}],
        },
    ]


def _binding(name: str, *, role: str, user: str) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"test-node:{name}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }
