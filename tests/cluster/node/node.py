"""One real node: containerd, kubelet, kube-proxy, CoreDNS and, on demand, metrics-server, in namespaces of their own.

It needs root and the system's packages of containerd, runc and the CNI plugins (`PROGRAMS`); all else is built from Go
modules. What must stay true:
- it changes nothing outside its folder but a link with its routes, and cgroups, and these go when it goes;
- it ends when the process that made it ends, however that ends, together with all its containers.
"""

from __future__ import annotations

import functools
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.components import Component
from tests.cluster.identities import ADMINISTRATORS, Identities
from tests.cluster.pki import KeyPair
from tests.cluster.probing import probe
from tests.cluster.process import ClusterError, Program, ServerProcess

from .cgroups import make_cgroups
from .configuration import CNI_PLUGINS, CONTAINERD_SOCKET, NodeLayout, configuration_files
from .namespaces import Namespaces
from .network import Network, candidate_networks, connect, take_link
from .programs import containerd, metrics_server, node_programs
from .running import run

BINARIES = ("kubelet", "kube-proxy", "coredns")
METRICS = "metrics-server"
PROGRAMS = ("containerd", "ctr", "runc", "nft", "ip", "nsenter", "unshare", "setpriv", "mount")
READY_TIMEOUT = 300.0
REMOVAL_TIMEOUT = 300.0
IMAGES_NAMESPACE = "k8s.io"  # containerd's, where kubelet looks for images
_LEFTOVERS = Path(__file__).with_name("leftovers.py")


def missing_for_node() -> str | None:
    """Why this machine cannot run a node, in a few words; None when it can."""
    if sys.platform != "linux":
        return "a node needs Linux"
    if os.geteuid() != 0:
        return "a node needs root"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if not (CNI_PLUGINS / "bridge").exists():
        missing.append(str(CNI_PLUGINS / "bridge"))
    return f"a node needs {', '.join(missing)}" if missing else None


class Node:
    """One node; `start` starts its programs, by the names in BINARIES and `containerd`, and `close` ends it."""

    def __init__(self, folder: Path, *, name: str = "node") -> None:
        """Make its namespaces, link and cgroups; `folder` is an existing empty one. Raises ClusterError."""
        self.folder = folder.resolve()
        self.name = name
        for each in ("data", "logs", "configuration/cni", "pod-logs"):
            (self.folder / each).mkdir(parents=True)
        self._processes: dict[str, ServerProcess] = {}
        self._namespaces = Namespaces(self.folder / "data", hostname=name)
        self._leftovers: subprocess.Popen[bytes] | None = None
        self._namespaces.start()
        try:
            self.network = self._take_network()
            connect(self.network, namespace_pid=self._namespaces.init_pid)
            self._cgroup = f"mahavishnu-node{self.network.slot}"
            cgroups = make_cgroups(self._cgroup)
            self._leftovers = self._watch_leftovers(cgroups)
        except BaseException:
            self.close()
            raise

    def start(
        self, identities: Identities, *, kubelet_client: KeyPair, binaries: Mapping[str, Path], tls: ssl.SSLContext
    ) -> None:
        """Start its programs and wait until they are ready; the API server must be. Raises ClusterError."""
        self._tls = tls
        self._layout = layout = NodeLayout(
            name=self.name,
            folder=self.folder,
            cgroup=f"/{self._cgroup}",
            network=self.network,
            authority=identities.authority.certificate,
            serving=identities.issue("node-serving", common_name=f"system:node:{self.name}", hosts=self._hosts()),
            kubelet_client=kubelet_client,
            kubeconfigs=_kubeconfigs(identities, self.name),
        )
        for name, text in configuration_files(layout).items():
            layout.file(name).write_text(text)
        self._processes["containerd"] = self._containerd(layout)
        for component in node_programs(layout):
            self._processes[component.name] = self._component(component, binaries[component.name])
        self._processes["containerd"].start()
        self._processes["containerd"].wait_ready(READY_TIMEOUT)
        for name in BINARIES:
            self._processes[name].start()
        for name in BINARIES:
            self._processes[name].wait_ready(READY_TIMEOUT)

    def start_metrics(self, binary: Path) -> None:
        """Start the metrics server beside the others and wait until it serves. Raises ClusterError."""
        process = self._processes[METRICS] = self._component(metrics_server(self._layout), binary)
        process.start()
        process.wait_ready(READY_TIMEOUT)

    def process(self, name: str) -> ServerProcess:
        """One of its programs. Raises KeyError for an unknown name."""
        return self._processes[name]

    def import_image(self, archive: Path) -> None:
        """Give containerd the images of a docker-archive or OCI archive. Raises ClusterError."""
        self.run(
            "ctr", f"--address={CONTAINERD_SOCKET}", f"--namespace={IMAGES_NAMESPACE}", "images", "import", str(archive)
        )

    def run(self, *command: str) -> str:
        """The output of a command inside the node's namespaces. Raises ClusterError."""
        return run(*self._namespaces.inside(*command))

    def close(self) -> None:
        """End it with everything in it, and wait until nothing of it is left but logs. May be called again."""
        self._namespaces.close()
        for process in self._processes.values():
            process.kill()
        if self._leftovers is not None and self._leftovers.wait(REMOVAL_TIMEOUT) != 0:
            log = self.folder / "logs" / "leftovers.log"
            raise ClusterError(f"not all of {self.name} could be removed:\n{log.read_text(errors='replace')}")

    def _take_network(self) -> Network:
        pid = self._namespaces.init_pid
        for network in candidate_networks():
            if take_link(network, namespace_pid=pid):
                return network
        raise ClusterError("every address range for a node is taken: end other clusters, `ip link` shows their links")

    def _watch_leftovers(self, cgroups: tuple[Path, ...]) -> subprocess.Popen[bytes]:
        paths = (*cgroups, self.folder / "data")
        command = [sys.executable, "-I", "-S", str(_LEFTOVERS), str(self._namespaces.init_pid), *map(str, paths)]
        with (self.folder / "logs" / "leftovers.log").open("ab") as log:
            # A session of its own: it must outlive the test run.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        assert process.stdout is not None
        if not process.stdout.readline():
            raise ClusterError(f"{_LEFTOVERS.name} did not start; see {log.name}")
        process.stdout.close()
        return process

    def _hosts(self) -> tuple[str, ...]:
        return self.name, self.network.node_ip, "metrics-server.kube-system.svc"

    def _containerd(self, layout: NodeLayout) -> ServerProcess:
        def check_ready() -> str | None:
            try:
                self.run("ctr", f"--address={CONTAINERD_SOCKET}", "version")
            except ClusterError as error:
                return str(error)
            return None

        program = Program("containerd", self._namespaces.inside("containerd", *containerd(layout)), check_ready)
        return ServerProcess(program, self.folder / "logs" / "containerd.log")

    def _component(self, component: Component, binary: Path) -> ServerProcess:
        command = self._namespaces.inside(str(binary), *component.flags)
        program = Program(component.name, command, functools.partial(probe, component, tls=self._tls))
        return ServerProcess(program, self.folder / "logs" / f"{component.name}.log")


def _kubeconfigs(identities: Identities, name: str) -> dict[str, Path]:
    """Who the programs are to the API server; those that are Pods with roles of their own elsewhere may do all."""
    return {
        "kubelet": identities.kubeconfig("kubelet", common_name=f"system:node:{name}", organizations=("system:nodes",)),
        "kube-proxy": identities.kubeconfig("kube-proxy", common_name="system:kube-proxy"),
        "coredns": identities.kubeconfig("coredns", common_name="coredns", organizations=(ADMINISTRATORS,)),
        "metrics-server": identities.kubeconfig(
            "metrics-server", common_name="metrics-server", organizations=(ADMINISTRATORS,)
        ),
    }
