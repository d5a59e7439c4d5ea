"""The first process of a node's namespaces: arranges its file system, then reaps what is left to it.

A node changes the machine it runs on: mounts, links, packet filter rules, kernel settings, files at fixed places. Here
all of these are in namespaces (mount, network, process, hostname, IPC), which the kernel takes down when this process
dies. It dies with `unshare`, which started it, which dies with the test run; so nothing has to be undone by anybody.

What must stay true: everything that containerd and kubelet write at places that no flag moves is on a file system of
the namespace (see VOLATILE), and kubelet finds the kernel settings it wants, instead of setting them for the machine.

Usage: python -I -S init.py FOLDER, with an empty folder for the stand-in settings and for what kubelet keeps on disk.
Prints READY when all is arranged.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

READY = "the node's namespaces are ready"
# Sockets and pinned network namespaces; CNI's cache of results; links to the logs of containers.
VOLATILE = ("/run", "/var/lib", "/var/log")
# kubelet's own folder: a short path, because it makes sockets there, whose paths have at most 108 characters.
KUBELET_FOLDER = "/var/lib/kubelet"
# What kubelet demands of a production machine (its container manager's setupKernelTunables); some of these settings
# would make the machine panic sooner.
KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
# The namespace's own: route between Pods and the machine, and let Services work between Pods on one bridge.
NETWORK_SETTINGS = {
    "net/ipv4/ip_forward": "1",
    "net/bridge/bridge-nf-call-iptables": "1",
}


def main() -> None:
    folder = Path(sys.argv[1])
    for path in VOLATILE:
        mount("-t", "tmpfs", "tmpfs", path)
    on_disk = folder / "kubelet"
    on_disk.mkdir()
    Path(KUBELET_FOLDER).mkdir()
    mount("--bind", str(on_disk), KUBELET_FOLDER)
    for name, value in KERNEL_SETTINGS.items():
        stand_in = folder / name.replace("/", ".")
        stand_in.write_text(value + "\n")
        mount("--bind", str(stand_in), f"/proc/sys/{name}")
    for name, value in NETWORK_SETTINGS.items():
        Path("/proc/sys", name).write_text(value)
    mount("--make-rshared", "/")  # volumes are mounted into running containers
    # Ignored, so the kernel reaps the containers' shims, which are handed to the first process when they end.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.write(1, (READY + "\n").encode())
    while True:
        signal.pause()


def mount(*args: str) -> None:
    subprocess.run(["mount", *args], check=True)


if __name__ == "__main__":
    main()
