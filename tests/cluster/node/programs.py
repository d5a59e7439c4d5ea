"""The command lines of the node's programs: one function each, from one description of the node.

They listen inside the node's network namespace, so that their ports are always free.
"""

from __future__ import annotations

from tests.cluster.components import Component

from . import configuration as at
from .configuration import NodeLayout
from .init import KUBELET_FOLDER


def node_programs(layout: NodeLayout) -> tuple[Component, ...]:
    """Those that make the node; containerd comes before all of them."""
    return _kubelet(layout), _proxy(layout), _dns(layout)


def containerd(layout: NodeLayout) -> tuple[str, ...]:
    """Its flags. It comes from the system's packages, with `ctr` and the shims beside it."""
    return ("--config", str(layout.file("containerd.toml")), "--log-level", "warn")


def _kubelet(layout: NodeLayout) -> Component:
    flags = (
        f"--config={layout.file('kubelet.json')}",
        f"--kubeconfig={layout.kubeconfigs['kubelet']}",
        f"--root-dir={KUBELET_FOLDER}",
        f"--node-ip={layout.network.node_ip}",
        f"--hostname-override={layout.name}",
    )
    return Component("kubelet", flags, at.HEALTH_PORT, "/healthz", host=layout.network.node_ip, tls=False)


def _proxy(layout: NodeLayout) -> Component:
    flags = (f"--config={layout.file('kube-proxy.json')}",)
    return Component("kube-proxy", flags, at.PROXY_HEALTH_PORT, "/healthz", host=layout.network.node_ip, tls=False)


def _dns(layout: NodeLayout) -> Component:
    flags = (f"-conf={layout.file('Corefile')}",)
    return Component("coredns", flags, at.DNS_READY_PORT, "/ready", host=layout.network.node_ip, tls=False)


def metrics_server(layout: NodeLayout) -> Component:
    kubeconfig = layout.kubeconfigs["metrics-server"]
    flags = (
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={layout.network.node_ip}",
        f"--secure-port={at.METRICS_PORT}",
        f"--tls-cert-file={layout.serving.certificate}",
        f"--tls-private-key-file={layout.serving.key}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-certificate-authority={layout.authority}",
        f"--kubelet-client-certificate={layout.kubelet_client.certificate}",
        f"--kubelet-client-key={layout.kubelet_client.key}",
        "--metric-resolution=15s",  # the shortest that it takes
    )
    # Its own readiness needs two rounds of figures (half a minute): who wants figures waits for those.
    return Component("metrics-server", flags, at.METRICS_PORT, "/livez", host=layout.network.node_ip)
