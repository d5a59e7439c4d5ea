"""The addresses of one cluster with a node, and how clusters on one machine keep out of each other's way.

The node lives in a network namespace of its own. One pair of virtual links joins it to the machine, whose own
processes (the API server, an operator under test, the tests) sit at the machine's end and reach Pods and Services
through two routes. The link's name and addresses carry a number, the slot. Making the link is the reservation: the
kernel refuses a second one of that name, and removes it, with its routes, when the namespace ends however it ends.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from .running import run

SLOTS = range(64)
UPLINK = "uplink"  # the node's end, in its own namespace


@dataclass(frozen=True)
class Network:
    """What belongs to a slot; all addresses are IPv4."""

    slot: int

    @property
    def link(self) -> str:
        """The machine's end of the pair; Linux takes at most 15 characters."""
        return f"mahavishnu{self.slot}"

    @property
    def host_ip(self) -> str:
        """The machine, as the node and its Pods see it: the API server listens here."""
        return f"10.245.{self.slot}.1"

    @property
    def node_ip(self) -> str:
        return f"10.245.{self.slot}.2"

    @property
    def link_cidr(self) -> str:
        return f"10.245.{self.slot}.0/30"

    @property
    def pod_cidr(self) -> str:
        return f"10.244.{self.slot}.0/24"

    @property
    def service_cidr(self) -> str:
        return f"10.96.{self.slot}.0/24"

    @property
    def api_service_ip(self) -> str:
        """The Service `kubernetes`: the API server takes the first address of the range."""
        return f"10.96.{self.slot}.1"

    @property
    def dns_ip(self) -> str:
        return f"10.96.{self.slot}.10"

    @property
    def cidrs(self) -> tuple[str, ...]:
        return self.link_cidr, self.pod_cidr, self.service_cidr


def free_networks(*, links: Collection[str], routes: Collection[str]) -> Iterator[Network]:
    """The networks whose link does not exist and that no route of the machine leads to, lowest slot first.

    `links` are names; `routes` are destinations as `ip route` prints them: an address, a range or `default`.
    """
    taken = [ipaddress.ip_network(route, strict=False) for route in routes if route[0].isdigit()]
    for network in map(Network, SLOTS):
        ranges = [ipaddress.ip_network(cidr) for cidr in network.cidrs]
        if network.link not in links and not any(mine.overlaps(other) for mine in ranges for other in taken):
            yield network


def candidate_networks() -> Iterator[Network]:
    """The free networks of this machine now; another process may take one before the caller does."""
    links = {link["ifname"] for link in json.loads(run("ip", "-json", "link", "show"))}
    routes = {route["dst"] for route in json.loads(run("ip", "-json", "-4", "route", "show", "table", "all"))}
    return free_networks(links=links, routes=routes)


def take_link(network: Network, *, namespace_pid: int) -> bool:
    """Make the pair of links, one end in the process's network namespace; False when the slot has just been taken."""
    inner = ("peer", "name", UPLINK, "netns", str(namespace_pid))
    return "File exists" not in run("ip", "link", "add", network.link, "type", "veth", *inner, tolerate="File exists")


def connect(network: Network, *, namespace_pid: int) -> None:
    """Give both ends their addresses, and the machine its routes to Pods and Services. Raises ClusterError."""
    inside = ("nsenter", f"--net=/proc/{namespace_pid}/ns/net", "ip")
    prefix = network.link_cidr.partition("/")[2]
    for ip, device, address in ((("ip",), network.link, network.host_ip), (inside, UPLINK, network.node_ip)):
        run(*ip, "address", "add", f"{address}/{prefix}", "dev", device)
        run(*ip, "link", "set", device, "up")
    run(*inside, "link", "set", "lo", "up")
    run(*inside, "route", "add", "default", "via", network.host_ip)
    for cidr in (network.pod_cidr, network.service_cidr):
        run("ip", "route", "add", cidr, "via", network.node_ip)
