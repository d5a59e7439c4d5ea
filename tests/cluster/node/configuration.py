"""The configuration files of the node's programs, made from one description; nothing here touches the machine.

They are those of a production node wherever a Pod could tell the difference; each deviation says why it is there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.pki import KeyPair

from .network import Network

# Below a file system of the node's own (init.VOLATILE); a socket's path has at most 108 characters.
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
CONTAINERD_STATE = "/run/containerd"
CNI_PLUGINS = Path("/usr/lib/cni")
PAUSE_IMAGE = "localhost/pause:test"
DNS_PORT = 1053  # the node's own port 53 may be wanted by a Pod
DNS_READY_PORT = 8181
METRICS_PORT = 4443
KUBELET_PORT = 10250
HEALTH_PORT = 10248
PROXY_HEALTH_PORT = 10256


@dataclass(frozen=True)
class NodeLayout:
    """Where everything of one node is.

    Attributes:
        name: the Node's name.
        folder: all its files, an absolute path.
        cgroup: the cgroup that holds the Pods', below the root of every hierarchy; starts with a slash.
        authority: whose certificates clients of the kubelet must show.
        kubeconfigs: those of kubelet, kube-proxy, coredns and metrics-server, by name.
        kubelet_client: as whom metrics-server speaks to the kubelet.

    """

    name: str
    folder: Path
    cgroup: str
    network: Network
    authority: Path
    serving: KeyPair
    kubelet_client: KeyPair
    kubeconfigs: Mapping[str, Path]

    @property
    def data(self) -> Path:
        """What the programs write, images and volumes of Pods included: gone when the node is."""
        return self.folder / "data"

    def file(self, name: str) -> Path:
        """The path of a configuration file of `configuration_files`."""
        return self.folder / "configuration" / name


def configuration_files(layout: NodeLayout) -> dict[str, str]:
    """The text of every configuration file, by its name."""
    return {
        "containerd.toml": containerd_configuration(layout),
        "kubelet.json": json.dumps(kubelet_configuration(layout), indent=1),
        "kube-proxy.json": json.dumps(proxy_configuration(layout), indent=1),
        "cni/10-bridge.conflist": json.dumps(cni_configuration(layout), indent=1),
        "Corefile": corefile(layout),
        # What Pods with dnsPolicy Default get. The machine's own name servers are out of the node's reach.
        "resolv.conf": "",
    }


def containerd_configuration(layout: NodeLayout) -> str:
    """TOML for containerd 1.6 and 1.7."""
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    settings: dict[str, dict[str, object]] = {
        "": {"version": 2, "root": str(layout.data / "containerd"), "state": CONTAINERD_STATE},
        "grpc": {"address": CONTAINERD_SOCKET},
        cri: {
            "sandbox_image": PAUSE_IMAGE,
            # Without, no Pod starts where root may not lower a process's OOM score (no CAP_SYS_RESOURCE).
            "restrict_oom_score_adj": True,
            "stream_server_address": "127.0.0.1",
        },
        f"{cri}.containerd": {"snapshotter": "overlayfs", "default_runtime_name": "runc"},
        f"{cri}.containerd.runtimes.runc": {"runtime_type": "io.containerd.runc.v2"},
        f"{cri}.containerd.runtimes.runc.options": {"SystemdCgroup": False},
        f"{cri}.cni": {"bin_dir": str(CNI_PLUGINS), "conf_dir": str(layout.file("cni"))},
        'plugins."io.containerd.internal.v1.opt"': {"path": str(layout.data / "containerd-opt")},
    }
    lines: list[str] = []
    for section, values in settings.items():
        lines += [f"[{section}]"] if section else []
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def kubelet_configuration(layout: NodeLayout) -> dict[str, object]:
    """A KubeletConfiguration."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": layout.network.node_ip,
        "port": KUBELET_PORT,
        "healthzBindAddress": layout.network.node_ip,
        "healthzPort": HEALTH_PORT,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(layout.authority)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(layout.serving.certificate),
        "tlsPrivateKeyFile": str(layout.serving.key),
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",  # no systemd runs in the namespaces
        "cgroupRoot": layout.cgroup,
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "clusterDNS": [layout.network.dns_ip],
        "clusterDomain": "cluster.local",
        "resolvConf": str(layout.file("resolv.conf")),
        "podLogsDir": str(layout.folder / "pod-logs"),
        "volumePluginDir": str(layout.data / "volume-plugins"),
        # The disk is the machine's: how full it is says nothing about the node, and evicts nobody.
        "localStorageCapacityIsolation": False,
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "registryPullQPS": 0,
    }


def proxy_configuration(layout: NodeLayout) -> dict[str, object]:
    """A KubeProxyConfiguration."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": layout.network.pod_cidr,
        "hostnameOverride": layout.name,
        "healthzBindAddress": f"{layout.network.node_ip}:{PROXY_HEALTH_PORT}",
        "clientConnection": {"kubeconfig": str(layout.kubeconfigs["kube-proxy"])},
        # The table of connections is the machine's, and so is its size.
        "conntrack": {"maxPerCore": 0},
    }


def cni_configuration(layout: NodeLayout) -> dict[str, object]:
    """A bridge for all Pods. No port mapping and no masquerading: Pods reach the machine and nothing beyond it."""
    return {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "pods",
                "isGateway": True,
                "hairpinMode": True,  # a Pod may reach itself through a Service
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(layout.data / "pod-addresses"),
                    "ranges": [[{"subnet": layout.network.pod_cidr}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }


def corefile(layout: NodeLayout) -> str:
    """CoreDNS for the cluster's names alone; it refuses all others."""
    return f""".:{DNS_PORT} {{
    bind {layout.network.node_ip}
    errors
    ready {layout.network.node_ip}:{DNS_READY_PORT}
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {layout.kubeconfigs["coredns"]} test
        pods insecure
    }}
}}
"""
