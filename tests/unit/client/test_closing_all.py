"""What `close_all` closes: this caller's own and nothing that somebody else made, holds or declares."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mahavishnu_operator.api.reasons import API_VERSION, Label
from mahavishnu_operator.client import Client
from mahavishnu_operator.client.door import Way
from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.embedded import EmbeddedResources
from mahavishnu_operator.resources.protocol import WORKER_POOL, Key, Obj
from mahavishnu_operator.support.errors import Conflict

WAY = Way(Connection.from_url("http://127.0.0.1:9"), embedded=True)


@pytest.fixture
async def resources(tmp_path: Path) -> AsyncIterator[EmbeddedResources]:
    opened = EmbeddedResources(tmp_path / "objects.db")
    yield opened
    await opened.close()


@pytest.fixture
async def mine(resources: EmbeddedResources) -> AsyncIterator[Client]:
    async with Client(resources, WAY, created_by="me") as client:
        yield client


def a_pool(name: str, *, by: str = "", **annotations: str) -> Obj:
    labels = {Label.CREATED_BY.value: by} if by else {}
    metadata = {"name": name, "namespace": "default", "labels": labels, "annotations": annotations}
    spec = {"backend": "local-process", "minWorkers": 0}
    return {"apiVersion": API_VERSION, "kind": "WorkerPool", "metadata": metadata, "spec": spec}


async def names(resources: EmbeddedResources) -> list[str]:
    return [obj["metadata"]["name"] for obj in (await resources.list(WORKER_POOL)).items]


async def test_only_own_pools_that_nobody_else_declares_are_closed(resources: EmbeddedResources, mine: Client) -> None:
    for pool in (a_pool("mine", by="me"), a_pool("theirs", by="you"), a_pool("of-nobody")):
        await resources.create(WORKER_POOL, pool)
    await resources.apply(WORKER_POOL, a_pool("of-gitops", by="me"), field_manager="kustomize-controller")
    assert await mine.pools.close_all() == ([Key("default", "mine")], {})
    assert await names(resources) == ["of-gitops", "of-nobody", "theirs"]


async def test_a_pool_that_gitops_took_over_is_neither_closed_nor_changed_without_force(
    resources: EmbeddedResources, mine: Client
) -> None:
    await resources.apply(WORKER_POOL, a_pool("p", by="me"), field_manager="kustomize-controller")
    with pytest.raises(Conflict, match=r"default/p is declared elsewhere \(Flux\)"):
        await mine.pools.close(Key("default", "p"))
    with pytest.raises(Conflict, match="declared elsewhere"):
        await mine.pools.spawn("p", max_workers=1, timeout=0)
    await mine.pools.close(Key("default", "p"), force=True)
    assert await names(resources) == []


async def test_only_own_workers_are_let_go(resources: EmbeddedResources, mine: Client) -> None:
    held = {"a": {"by": "me", "type": "command"}, "b": {"by": "you", "type": "command"}}
    await resources.create(
        WORKER_POOL, a_pool("gateway-workers", by="you", **{Label.HELD_WORKERS.value: json.dumps(held)})
    )
    assert await mine.workers.close_all() == 1
    assert [(worker.key.name, worker.holder) for worker in await mine.workers.list()] == [("b", "you")]
    assert await mine.workers.close_all() == 0
