"""A throw-away Kubernetes control plane on loopback: etcd, API server, controller-manager and scheduler.

It is the real thing (admission, RBAC, validation rules, garbage collection, watches, optimistic locking), ready in
seconds and without root, which is what integration tests need. Pods are accepted and stay Pending: no node runs them,
unless one is put beside it (node/cluster.py).

Chaos tests stop, kill and start the components by name, on the same data and ports. What must stay true:
- each component and its ports belong to one ControlPlane: all its connections, also those to etcd, need certificates of
  its own authority, so two test runs on one machine can never write into each other's etcd;
- nothing outlives the process that made it, even after `kill -9` (see process.py).
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from .client import Cluster
from .components import CONTROLLERS, FRONT_PROXY, HOST, SERVICE_IP, Beside, Component, Layout, control_plane
from .identities import Identities
from .ports import PortReservation
from .probing import probe
from .process import READY_TIMEOUT, Program, ServerProcess

SERVER_NAMES = ("localhost", HOST, "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
KUBELET_CLIENT = "kube-apiserver-kubelet-client"
LESS_COLLECTING = "GOGC=400"  # a fifth less of the processors while they start, for a few hundred megabytes


class ControlPlane:
    """The components `etcd`, `kube-apiserver`, `kube-controller-manager` and `kube-scheduler` (the names used below).

    A context manager: entering starts everything and waits until it is ready; leaving kills everything and removes the
    data, while the logs and certificates stay in the folder.
    """

    def __init__(
        self, folder: Path, *, binaries: Mapping[str, Path], fsync: bool = False, beside: Beside | None = None
    ) -> None:
        """Prepare certificates, ports and command lines; start nothing.

        Args:
            folder: an existing empty folder, this control plane's own.
            binaries: the paths that `build.ensure()` returns.
            fsync: whether etcd waits for the disk. Without, it is faster and still keeps its data through `kill -9`
                (the kernel has what it wrote); only a crash of the machine loses some.
            beside: the addresses shared with a node, when one is put beside it.

        """
        if any(folder.iterdir()):
            raise ValueError(f"{folder} is not empty: a control plane needs a folder of its own")
        self.folder = folder
        self._binaries = binaries
        for name in ("logs", "data", "client"):
            (folder / name).mkdir()
        self._reservation = PortReservation(5)
        etcd, etcd_peer, api_server, controller_manager, scheduler = self._reservation.ports
        self.server = f"https://{HOST if beside is None else beside.host}:{api_server}"
        self.identities = Identities(folder, server=self.server)
        self.kubeconfig = self.identities.admin_kubeconfig
        self._tls = self.identities.admin_tls()
        issue = self.identities.issue
        own_names = (SERVICE_IP,) if beside is None else (beside.host, beside.service_ip)
        layout = Layout(
            etcd_data=folder / "data" / "etcd",
            authority=self.identities.authority,
            serving=issue("serving", common_name="servers", hosts=(*SERVER_NAMES, *own_names)),
            etcd_client=issue("etcd-client", common_name="kube-apiserver-etcd-client"),
            kubelet_client=issue("kubelet-client", common_name=KUBELET_CLIENT),
            front_proxy=issue("front-proxy", common_name=FRONT_PROXY),
            token_key=self.identities.token_key,
            kubeconfigs={name: self.identities.kubeconfig(name, common_name=f"system:{name}") for name in CONTROLLERS},
            etcd_port=etcd,
            etcd_peer_port=etcd_peer,
            api_server_port=api_server,
            controller_manager_port=controller_manager,
            scheduler_port=scheduler,
            fsync=fsync,
            beside=beside,
        )
        self.kubelet_client = layout.kubelet_client
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
        command = ("/usr/bin/env", LESS_COLLECTING, str(self._binaries[component.name]), *component.flags)
        check_ready = functools.partial(probe, component, tls=self._tls)
        log = self.folder / "logs" / f"{component.name}.log"
        return ServerProcess(Program(component.name, command, check_ready), log)
