"""What a node is made of, without starting one: addresses, configuration files, cgroups."""

import json
import tomllib
from pathlib import Path

from tests.cluster.pki import KeyPair

from .cgroups import hierarchies
from .configuration import NodeLayout, configuration_files
from .network import SLOTS, Network, free_networks


def test_a_free_machine_offers_every_slot() -> None:
    assert [network.slot for network in free_networks(links=["lo", "eth0"], routes=["default"])] == list(SLOTS)


def test_a_slot_whose_link_exists_is_left_alone() -> None:
    assert next(free_networks(links=["mahavishnu0"], routes=[])).slot == 1


def test_a_slot_whose_addresses_lead_elsewhere_is_left_alone() -> None:
    routes = ["default", "10.244.0.0/23", "10.96.2.17"]
    assert next(free_networks(links=[], routes=routes)).slot == 3


def test_no_two_slots_share_an_address_or_a_name() -> None:
    networks = [Network(slot) for slot in SLOTS]
    assert len({cidr for network in networks for cidr in network.cidrs}) == 3 * len(SLOTS)
    assert len({network.link for network in networks}) == len(SLOTS)
    assert max(len(network.link) for network in networks) <= 15


def test_containerd_is_told_to_keep_everything_in_the_nodes_folder(tmp_path: Path) -> None:
    settings = tomllib.loads(configuration_files(layout(tmp_path))["containerd.toml"])
    assert settings["root"] == str(tmp_path / "data" / "containerd")
    cri = settings["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["cni"]["conf_dir"] == str(tmp_path / "configuration" / "cni")


def test_kubelet_puts_pods_below_the_nodes_own_cgroup(tmp_path: Path) -> None:
    assert json.loads(configuration_files(layout(tmp_path))["kubelet.json"])["cgroupRoot"] == "/mahavishnu-node7"


def test_cgroups_of_both_versions_are_found() -> None:
    mounts = "cgroup /c/cpu cgroup rw,cpu 0 0\ncgroup2 /c/unified cgroup2 rw 0 0\ntmpfs /c tmpfs rw 0 0\n"
    assert hierarchies(mounts) == (Path("/c/cpu"), Path("/c/unified"))


def layout(folder: Path) -> NodeLayout:
    pair = KeyPair(certificate=folder / "crt", key=folder / "key")
    return NodeLayout(
        name="node",
        folder=folder,
        cgroup="/mahavishnu-node7",
        network=Network(7),
        authority=folder / "ca",
        serving=pair,
        kubelet_client=pair,
        kubeconfigs={name: folder / name for name in ("kubelet", "kube-proxy", "coredns", "metrics-server")},
    )
