"""Every act on the kinds is asked about; the API server here is a table of what it allows."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mahavishnu_operator.client import Client
from mahavishnu_operator.client.door import Way
from mahavishnu_operator.mcp_gateway.admitting import Callers
from mahavishnu_operator.mcp_gateway.gateway import Gateway, GatewayOptions, acting
from mahavishnu_operator.mcp_gateway.permitted import MOST_NAMESPACES, Permitted
from mahavishnu_operator.mcp_gateway.reviews import Act, Identity, Reviews
from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.embedded import EmbeddedResources
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from mahavishnu_operator.resources.protocol import WORKER_POOL, Forbidden, Key, Obj, Resources

ALICE = Identity("system:serviceaccount:a:alice", "u1", ("g",))
CONNECTION = Connection.from_url("http://127.0.0.1:9")


class Table(Reviews):
    """Reviews by a table of acts: `verb resource namespace`, with `*` for all namespaces."""

    def __init__(self, *allowed: str) -> None:
        super().__init__(KubernetesResources(CONNECTION), "aud")
        self.allowed, self.asked = set(allowed), list[Act]()

    async def _may(self, who: Identity, act: Act) -> bool:
        self.asked.append(act)
        return f"{act.verb} {act.resource} {act.namespace or '*'}{f' {act.name}' if act.name else ''}" in self.allowed


def a_pool(namespace: str, name: str = "p") -> Obj:
    metadata = {"name": name, "namespace": namespace}
    spec = {"backend": "kubernetes"}
    return {"apiVersion": "mahavishnu.dev/v1alpha1", "kind": "WorkerPool", "metadata": metadata, "spec": spec}


@pytest.fixture
async def resources(tmp_path: Path) -> AsyncIterator[EmbeddedResources]:
    opened = EmbeddedResources(tmp_path / "objects.db")
    for namespace in ("a", "b"):
        await opened.create(WORKER_POOL, a_pool(namespace))
    yield opened
    await opened.close()


def test_there_is_no_act_that_is_not_asked_about() -> None:
    acts = {name for name, _ in inspect.getmembers(Resources, inspect.isfunction) if not name.startswith("_")}
    assert acts - {"may_watch"} <= set(vars(Permitted))


async def test_without_a_right_nothing_is_done(resources: EmbeddedResources) -> None:
    alice, key = Permitted(resources, Table(), ALICE), Key("a", "p")
    acts: list[Any] = [
        alice.list(WORKER_POOL, namespace="a"),
        alice.get(WORKER_POOL, key),
        alice.create(WORKER_POOL, a_pool("a", "new")),
        alice.merge(WORKER_POOL, key, {"spec": {"maxWorkers": 3}}),
        alice.apply(WORKER_POOL, a_pool("a", "new"), field_manager="m"),
        alice.merge_status(WORKER_POOL, key, {"ready": 1}),
        alice.scale(WORKER_POOL, key, 2),
        alice.delete(WORKER_POOL, key),
        alice.record_event(a_pool("a"), reason="R", message="m"),
        alice.may_watch(WORKER_POOL, "a"),
        anext(aiter(alice.watch(WORKER_POOL, namespace="a", since="0"))),
    ]
    before = await resources.list(WORKER_POOL)
    for act in acts:
        with pytest.raises(Forbidden, match=r"system:serviceaccount:a:alice may not .* in namespace a"):
            await act
    assert (await resources.list(WORKER_POOL)).items == before.items


async def test_a_list_of_all_namespaces_has_those_that_the_caller_may_list(resources: EmbeddedResources) -> None:
    for allowed, seen in (("list workerpools a", ["a"]), ("list workerpools b", ["b"]), ("list workerpools *", "ab")):
        listing = await Permitted(resources, Table(allowed), ALICE).list(WORKER_POOL)
        assert [obj["metadata"]["namespace"] for obj in listing.items] == list(seen)
    with pytest.raises(Forbidden, match="may not list workerpools in any namespace"):
        await Permitted(resources, Table(), ALICE).list(WORKER_POOL)


async def test_a_service_account_whose_own_namespace_is_empty_is_told_so_and_not_refused(
    resources: EmbeddedResources,
) -> None:
    await resources.delete(WORKER_POOL, Key("a", "p"))
    assert (await Permitted(resources, Table("list workerpools a"), ALICE).list(WORKER_POOL)).items == ()


async def test_too_many_namespaces_are_not_asked_about(resources: EmbeddedResources) -> None:
    for number in range(MOST_NAMESPACES):
        await resources.create(WORKER_POOL, a_pool(f"n{number}"))
    table = Table("list workerpools a")
    with pytest.raises(Forbidden, match="too many to ask about each"):
        await Permitted(resources, table, ALICE).list(WORKER_POOL)
    assert len(table.asked) == 1


async def test_one_question_is_enough_for_all_names_where_any_is_allowed(resources: EmbeddedResources) -> None:
    table = Table("get workerpools a")
    alice = Permitted(resources, table, ALICE)
    await resources.create(WORKER_POOL, a_pool("a", "q"))
    for name in ("p", "q", "p"):
        await alice.get(WORKER_POOL, Key("a", name))
    assert [act.name for act in table.asked] == [""]


async def test_a_right_to_one_name_opens_that_one(resources: EmbeddedResources) -> None:
    alice = Permitted(resources, Table("get workerpools a p"), ALICE)
    assert (await alice.get(WORKER_POOL, Key("a", "p")))["metadata"]["name"] == "p"
    with pytest.raises(Forbidden, match="may not get workerpools q in namespace a"):
        await alice.get(WORKER_POOL, Key("a", "q"))


async def test_where_callers_are_told_apart_there_is_no_client_without_one(resources: EmbeddedResources) -> None:
    async with Client(resources, Way(CONNECTION)) as own:
        gateway = Gateway(own, GatewayOptions(), told_apart=True)
        with pytest.raises(Forbidden, match="no caller"):
            _ = gateway.client
        acting.set(Callers(own, Table(), everywhere=True).client_of(ALICE))
        assert (gateway.caller, gateway.client.namespace) == (ALICE.username, "a")
        with pytest.raises(Forbidden, match="may not list"):
            await gateway.client.pools.list(namespace="b")
