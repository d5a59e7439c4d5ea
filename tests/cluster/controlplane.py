"""A throw-away Kubernetes control plane on loopback: etcd, API server, controller-manager and scheduler, no node.

It is the real thing (admission, RBAC, validation rules, garbage collection, watches, optimistic locking), ready in
seconds and without root, which is what integration tests need. Pods are accepted and stay Pending: no node runs them.

Chaos tests stop, kill and start the components by name, on the same data and ports. What must stay true:
- each component and its ports belong to one ControlPlane: all its connections, also those to etcd, need certificates of
  its own authority, so two test runs on one machine can never write into each other's etcd;
- nothing outlives the process that made it, even after `kill -9` (see process.py).
"""

from __future__ import annotations

import base64
import functools
import http.client
import shutil
import ssl
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from .client import Cluster, write_kubeconfig
from .components import CONTROLLERS, HOST, SERVICE_IP, Component, Layout, control_plane
from .pki import Authority, KeyPair, write_signing_key
from .ports import PortReservation
from .process import READY_TIMEOUT, Program, ServerProcess

SERVER_NAMES = ("localhost", HOST, SERVICE_IP, "kubernetes.default.svc")
PROBE_TIMEOUT = 2.0


class ControlPlane:
    """The components `etcd`, `kube-apiserver`, `kube-controller-manager` and `kube-scheduler` (the names used below).

    A context manager: entering starts everything and waits until it is ready; leaving kills everything and removes the
    data, while the logs and certificates stay in the folder.
    """

    def __init__(self, folder: Path, *, binaries: Mapping[str, Path], fsync: bool = False) -> None:
        """Prepare certificates, ports and command lines; start nothing.

        Args:
            folder: an existing empty folder, this control plane's own.
            binaries: the paths that `build.ensure()` returns.
            fsync: whether etcd waits for the disk. Without, it is faster and still keeps its data through `kill -9`
                (the kernel has what it wrote); only a crash of the machine loses some.

        """
        if any(folder.iterdir()):
            raise ValueError(f"{folder} is not empty: a control plane needs a folder of its own")
        self.folder = folder
        self._binaries = binaries
        for name in ("pki", "logs", "data", "client"):
            (folder / name).mkdir()
        self._reservation = PortReservation(5)
        etcd, etcd_peer, api_server, controller_manager, scheduler = self._reservation.ports
        self.server = f"https://{HOST}:{api_server}"
        pki = folder / "pki"
        self._authority = Authority(pki)
        admin = self._authority.issue("admin", common_name="admin", organizations=("system:masters",))
        self.kubeconfig = self._kubeconfig("admin", admin)
        self._tls = ssl.create_default_context(cafile=self._authority.pair.certificate)
        self._tls.load_cert_chain(admin.certificate, admin.key)
        layout = Layout(
            etcd_data=folder / "data" / "etcd",
            authority=self._authority.pair,
            serving=self._authority.issue("serving", common_name="servers", hosts=SERVER_NAMES),
            etcd_client=self._authority.issue("etcd-client", common_name="kube-apiserver-etcd-client"),
            token_key=write_signing_key(pki / "service-accounts.key"),
            kubeconfigs={
                name: self._kubeconfig(name, self._authority.issue(name, common_name=f"system:{name}"))
                for name in CONTROLLERS
            },
            etcd_port=etcd,
            etcd_peer_port=etcd_peer,
            api_server_port=api_server,
            controller_manager_port=controller_manager,
            scheduler_port=scheduler,
            fsync=fsync,
        )
        self._processes = {component.name: self._process(component) for component in control_plane(layout)}

    @functools.cached_property
    def cluster(self) -> Cluster:
        """The cluster as its administrator sees it."""
        return Cluster(
            kubeconfig=self.kubeconfig, kubectl_binary=self._binaries["kubectl"], folder=self.folder / "client"
        )

    @property
    def components(self) -> tuple[str, ...]:
        """The components' names, in the order in which they are started."""
        return tuple(self._processes)

    def process(self, component: str) -> ServerProcess:
        """The component's process: its pid, its log, whether it runs. Raises ValueError for an unknown name."""
        try:
            return self._processes[component]
        except KeyError:
            raise ValueError(f"no component {component!r}; there are {', '.join(self._processes)}") from None

    def start(self, *components: str, timeout: float = READY_TIMEOUT) -> None:
        """Start the components (all by default), each ready before the next. Raises ClusterError; see ServerProcess."""
        for name in components or self.components:
            process = self.process(name)
            process.start()
            process.wait_ready(timeout)

    def stop(self, *components: str) -> None:
        """Stop the components (all by default) by SIGTERM and wait until they have gone. Raises ClusterError.

        Takes seconds where clients are connected: 2 for the API server, up to 7 for etcd.
        """
        for name in components or self.components[::-1]:
            self.process(name).stop()

    def kill(self, *components: str) -> None:
        """Kill the components (all by default) by SIGKILL and wait until they have gone."""
        for name in components or self.components[::-1]:
            self.process(name).kill()

    def close(self) -> None:
        """Kill everything, remove the data and let go of the ports. May be called again."""
        self.kill()
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        self._reservation.release()

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

    def _process(self, component: Component) -> ServerProcess:
        command = (str(self._binaries[component.name]), *component.flags)
        check_ready = functools.partial(_probe, self._tls, component)
        log = self.folder / "logs" / f"{component.name}.log"
        return ServerProcess(Program(component.name, command, check_ready), log)

    def _kubeconfig(self, name: str, user: KeyPair) -> Path:
        return write_kubeconfig(
            self.folder / f"{name}.kubeconfig",
            connection={
                "server": self.server,
                "certificate-authority-data": _base64(self._authority.pair.certificate),
            },
            user={"client-certificate-data": _base64(user.certificate), "client-key-data": _base64(user.key)},
        )


def _probe(tls: ssl.SSLContext, component: Component) -> str | None:
    """None when the component says that it is ready, else what it said."""
    connection = http.client.HTTPSConnection(HOST, component.port, timeout=PROBE_TIMEOUT, context=tls)
    try:
        connection.request("GET", component.ready_path)
        response = connection.getresponse()
        body = response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"GET {component.ready_path} on port {component.port}: {error}"
    finally:
        connection.close()
    if response.status == http.HTTPStatus.OK and component.ready_text in body:
        return None
    return f"GET {component.ready_path} on port {component.port}: {response.status} {body}"


def _base64(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()
