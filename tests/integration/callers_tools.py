"""A `mahavishnu mcp start` whose callers a real API server tells apart, and the accounts that call it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastmcp.client.auth import BearerAuth

from tests.cluster.client import Cluster

from .cli_tools import DEADLINE_SECONDS, running_gateway
from .gateway_tools import Agent, agent_of

AUDIENCE = "mahavishnu-gateway"
KINDS = {"apiGroups": ["mahavishnu.dev"], "resources": ["workerpools", "workerpools/scale", "scanjobs"]}
EVERYTHING = [{**KINDS, "verbs": ["get", "list", "watch", "create", "patch", "delete"]}]
LOOKING = [{**KINDS, "verbs": ["get", "list", "watch"]}]


@dataclass(frozen=True)
class Tenants:
    """A gateway, and namespaces `a` and `b` by their real names."""

    cluster: Cluster
    url: str
    log: Path
    spaces: Mapping[str, str]

    def token(self, account: str, *, audience: str = AUDIENCE) -> str:
        """A fresh token of `namespace/name`, for that audience; empty: the API server's own."""
        space, _, name = account.partition("/")
        audiences = (f"--audience={audience}",) if audience else ()
        return self.cluster.kubectl("create", "token", name, "-n", self.spaces[space], *audiences).stdout.strip()

    def agent(self, account: str) -> AbstractAsyncContextManager[Agent]:
        """A connected agent of that account."""
        return agent_of(self.url, auth=BearerAuth(self.token(account)))

    def user(self, account: str) -> str:
        """Its name, as the API server says it."""
        space, _, name = account.partition("/")
        return f"system:serviceaccount:{self.spaces[space]}:{name}"

    def pool(self, name: str) -> str:
        """The id of `space/name`."""
        space, _, bare = name.partition("/")
        return f"{self.spaces[space]}/{bare}"


def make_accounts(cluster: Cluster, namespace: str, rights: Mapping[str, list[dict[str, Any]]]) -> None:
    """Service accounts in a namespace, each with a Role of its own there."""
    apply(cluster, *(obj for name, rules in rights.items() for obj in _account(namespace, name, rules)))


def apply(cluster: Cluster, *objects: dict[str, Any]) -> None:
    """Make objects, or make them so."""
    everything = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    cluster.kubectl("apply", "--server-side", "-f", "-", input=everything)


def until_allowed(cluster: Cluster, user: str, verb: str, resource: str, *where: str) -> None:
    """Return once the API server knows of a right: what a gateway is told before holds for some seconds."""
    asked = ("auth", "can-i", verb, resource, f"--as={user}", *where)
    _until(lambda: cluster.kubectl(*asked, check=False).returncode == 0)


def until_nobodys(cluster: Cluster, token: str, *, audience: str = AUDIENCE) -> None:
    """Return once the API server knows that the account of a token has gone."""
    spec = {"token": token, "audiences": [audience]}
    review = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec})

    def gone() -> bool:
        said = json.loads(cluster.kubectl("create", "-f", "-", "-o", "json", input=review).stdout)
        return not said["status"].get("authenticated")

    _until(gone)


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not true():
        assert time.monotonic() < deadline, "the API server never came to know"
        time.sleep(0.1)


def _account(namespace: str, name: str, rules: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    meta, rbac = {"name": name, "namespace": namespace}, "rbac.authorization.k8s.io"
    yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
    yield {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": rules}
    yield {
        "apiVersion": f"{rbac}/v1",
        "kind": "RoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", **meta}],
    }


def cluster_rights(name: str, account: tuple[str, str], rules: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The same in all namespaces for one account."""
    rbac = "rbac.authorization.k8s.io"
    yield {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}
    yield {
        "apiVersion": f"{rbac}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "namespace": account[0], "name": account[1]}],
    }


@contextmanager
def reviewing_gateway(account: Cluster, folder: Path, *options: str) -> Iterator[tuple[str, Path]]:
    """`mahavishnu mcp start --auth token-review` as that account, on a free port: its address and its log."""
    log = folder / "gateway.log"
    told = ("--kubeconfig", str(account.kubeconfig), "--auth", "token-review", *options)
    with running_gateway(*told, log=log) as (url, _):
        yield url, log
