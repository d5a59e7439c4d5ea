"""The command lines of the control plane's components: one function each, from one description of the cluster.

They are those of a production cluster wherever a client could tell the difference; each deviation says why it is there.
All listen on loopback alone; only the API server of a cluster with a node listens where that node can reach it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .pki import KeyPair

HOST = "127.0.0.1"
SERVICE_CIDR = "10.96.0.0/16"
SERVICE_IP = "10.96.0.1"
POD_CIDR = "10.244.0.0/16"
CONTROLLERS = ("kube-controller-manager", "kube-scheduler")
# The one certificate name that may vouch for users by request headers: the API server's, when it passes a request on to
# an aggregated API. Without a node there is none, but the controllers fill their logs with errors where the API server
# publishes no such authority.
FRONT_PROXY = "front-proxy"


@dataclass(frozen=True)
class Component:
    """One server: its binary's name, its flags, and how it says that it is ready.

    That is: on its port `ready_path` answers 200 with `ready_text` somewhere in the body, over TLS or without.
    """

    name: str
    flags: tuple[str, ...]
    port: int
    ready_path: str
    ready_text: str = ""
    host: str = HOST
    tls: bool = True


@dataclass(frozen=True)
class Beside:
    """The addresses that a control plane shares with the node beside it; ranges are in CIDR notation.

    `host` is the machine's address that the node and its Pods reach: the API server listens there. `service_ip` is the
    first address of `service_cidr`, which the API server takes for itself.
    """

    host: str
    pod_cidr: str
    service_cidr: str
    service_ip: str


@dataclass(frozen=True)
class Layout:
    """Where everything of one cluster is.

    Attributes:
        etcd_data: etcd's data folder, made by etcd.
        authority: signs everybody's certificates, and those that the cluster itself hands out.
        serving: the certificate that every server shows, and etcd's members each other.
        etcd_client: as whom the API server speaks to etcd.
        kubelet_client: as whom it speaks to a kubelet.
        front_proxy: as whom it passes requests on to aggregated APIs; its name is FRONT_PROXY.
        token_key: the private key that signs service-account tokens.
        kubeconfigs: those of CONTROLLERS, by name.
        fsync: whether etcd waits for the disk.
        beside: the addresses shared with a node, if there is one.

    """

    etcd_data: Path
    authority: KeyPair
    serving: KeyPair
    etcd_client: KeyPair
    kubelet_client: KeyPair
    front_proxy: KeyPair
    token_key: Path
    kubeconfigs: Mapping[str, Path]
    etcd_port: int
    etcd_peer_port: int
    api_server_port: int
    controller_manager_port: int
    scheduler_port: int
    fsync: bool
    beside: Beside | None = None

    @property
    def api_host(self) -> str:
        """The address on which the API server listens."""
        return HOST if self.beside is None else self.beside.host

    @property
    def service_cidr(self) -> str:
        return SERVICE_CIDR if self.beside is None else self.beside.service_cidr


def control_plane(layout: Layout) -> tuple[Component, ...]:
    """The components, each after those that it needs."""
    return _etcd(layout), _api_server(layout), _controller_manager(layout), _scheduler(layout)


def _etcd(layout: Layout) -> Component:
    client, peer = f"https://{HOST}:{layout.etcd_port}", f"https://{HOST}:{layout.etcd_peer_port}"
    files = {
        "cert": layout.serving.certificate,
        "key": layout.serving.key,
        "trusted-ca": layout.authority.certificate,
    }
    flags = (
        f"--data-dir={layout.etcd_data}",
        "--name=test",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=test={peer}",
        *(f"--{side}{name}-file={file}" for side in ("", "peer-") for name, file in files.items()),
        "--client-cert-auth",
        "--peer-client-cert-auth",
        "--log-level=warn",
        *(() if layout.fsync else ("--unsafe-no-fsync",)),
    )
    return Component("etcd", flags, layout.etcd_port, "/readyz")


def _api_server(layout: Layout) -> Component:
    ca = layout.authority.certificate
    flags = (
        f"--bind-address={layout.api_host}",
        f"--advertise-address={layout.api_host}",
        f"--secure-port={layout.api_server_port}",
        f"--etcd-servers=https://{HOST}:{layout.etcd_port}",
        f"--etcd-cafile={ca}",
        f"--etcd-certfile={layout.etcd_client.certificate}",
        f"--etcd-keyfile={layout.etcd_client.key}",
        f"--client-ca-file={ca}",
        f"--tls-cert-file={layout.serving.certificate}",
        f"--tls-private-key-file={layout.serving.key}",
        f"--service-account-key-file={layout.token_key}",
        f"--service-account-signing-key-file={layout.token_key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-cluster-ip-range={layout.service_cidr}",
        f"--requestheader-client-ca-file={ca}",
        f"--requestheader-allowed-names={FRONT_PROXY}",
        "--requestheader-username-headers=X-Remote-User",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        # Without, SIGTERM takes a minute wherever a client watches; with it, watches are ended after two seconds.
        "--shutdown-send-retry-after=true",
        *_api_server_beside_node(layout),
    )
    return Component("kube-apiserver", flags, layout.api_server_port, "/readyz", host=layout.api_host)


def _api_server_beside_node(layout: Layout) -> tuple[str, ...]:
    """The API server's flags for reaching a kubelet and aggregated APIs."""
    if layout.beside is None:
        # The address that it would publish for the Service `kubernetes` is loopback, which Endpoints may not hold.
        return ("--endpoint-reconciler-type=none",)
    return (
        f"--kubelet-client-certificate={layout.kubelet_client.certificate}",
        f"--kubelet-client-key={layout.kubelet_client.key}",
        f"--kubelet-certificate-authority={layout.authority.certificate}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--proxy-client-cert-file={layout.front_proxy.certificate}",
        f"--proxy-client-key-file={layout.front_proxy.key}",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        # It speaks to the endpoints of Services (aggregated APIs, webhooks) itself, as it would from within a Pod.
        "--enable-aggregator-routing=true",
    )


def _controller_manager(layout: Layout) -> Component:
    name, port = "kube-controller-manager", layout.controller_manager_port
    flags = (
        *_controller_flags(layout, name, port),
        "--use-service-account-credentials",
        f"--root-ca-file={layout.authority.certificate}",
        f"--service-account-private-key-file={layout.token_key}",
        f"--cluster-signing-cert-file={layout.authority.certificate}",
        f"--cluster-signing-key-file={layout.authority.key}",
        *_controller_manager_beside_node(layout.beside),
        f"--service-cluster-ip-range={layout.service_cidr}",
    )
    # It says that it is well before it has made its controllers, and until it has, it ends if the API server goes away.
    # Once made, they are listed.
    return Component(name, flags, port, "/healthz?verbose", ready_text="[+]serviceaccount-controller ok")


def _controller_manager_beside_node(beside: Beside | None) -> tuple[str, ...]:
    if beside is None:
        return ("--allocate-node-cidrs", f"--cluster-cidr={POD_CIDR}")
    return (
        # The one real node has all addresses; simulated ones, of which there may be hundreds, need none.
        "--allocate-node-cidrs=false",
        f"--cluster-cidr={beside.pod_cidr}",
        "--horizontal-pod-autoscaler-sync-period=5s",
    )


def _scheduler(layout: Layout) -> Component:
    name, port = "kube-scheduler", layout.scheduler_port
    return Component(name, _controller_flags(layout, name, port), port, "/readyz")


def _controller_flags(layout: Layout, name: str, port: int) -> tuple[str, ...]:
    """What the controllers share: where they listen, and who they are to the API server."""
    kubeconfig = layout.kubeconfigs[name]
    return (
        f"--bind-address={HOST}",
        f"--secure-port={port}",
        f"--tls-cert-file={layout.serving.certificate}",
        f"--tls-private-key-file={layout.serving.key}",
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        # There is one of each; an election would make a restarted one wait for the lease of its predecessor.
        "--leader-elect=false",
        # The default of 20 requests per second keeps the controllers from starting for five seconds.
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    )
