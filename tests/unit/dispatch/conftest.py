"""A dispatcher on a real store, compared with it after every test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mahavishnu_operator.dispatch.dispatcher import Dispatcher

from .guarded import Cluster, guard
from .harness import FullDisk, check_memory


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FullDisk]:
    store = FullDisk(tmp_path)
    yield store
    await store.close()


@pytest.fixture
async def dispatcher(store: FullDisk) -> AsyncIterator[Dispatcher]:
    async with Dispatcher(store, holder="test") as dispatcher:
        yield dispatcher
        if not dispatcher.core.stopped:
            await check_memory(dispatcher)


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster()
    cluster.open.set()
    return cluster


@pytest.fixture
async def guarded(store: FullDisk, cluster: Cluster) -> AsyncIterator[Dispatcher]:
    async with Dispatcher(store, holder="test", clock=cluster.clock) as dispatcher:
        guard(dispatcher, cluster)
        yield dispatcher
        await check_memory(dispatcher)
