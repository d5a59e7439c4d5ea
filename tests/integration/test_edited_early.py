"""A ScanJob that is edited after its tasks were queued and before its first status: the server allows it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mahavishnu_operator.api.wire import CommandTask
from mahavishnu_operator.control.acceptance import Policy
from mahavishnu_operator.control.aggregation import Aggregator
from mahavishnu_operator.control.events import Recorder
from mahavishnu_operator.control.job_reconciler import JobReconciler
from mahavishnu_operator.control.objects import Objects
from mahavishnu_operator.control.sourcing import Sourcing
from mahavishnu_operator.control.status import StatusWriter
from mahavishnu_operator.dispatch.dispatcher import Dispatcher
from mahavishnu_operator.resources.embedded import EmbeddedResources
from mahavishnu_operator.resources.protocol import SCAN_JOB, WORKER_POOL
from mahavishnu_operator.store.sqlite import SqliteStore

from .engine_tools import JOB, commands, pool


class Bench:
    """A job reconciler without a loop around it, whose status writer lives in a moment that does not pass."""

    def __init__(self, resources: EmbeddedResources, store: SqliteStore, dispatch: Dispatcher) -> None:
        self.resources, self._store, self._dispatch = resources, store, dispatch
        self._pools = Objects(resources, WORKER_POOL, on_change=lambda *_: None)
        self._jobs = Objects(resources, SCAN_JOB, on_change=lambda *_: None)
        self._reconciler = JobReconciler(
            objects=self._jobs,
            pools=self._pools,
            resources=resources,
            dispatch=dispatch,
            aggregator=Aggregator(dispatch, store),
            writer=StatusWriter(resources, SCAN_JOB, clock=lambda: 1.0),
            recorder=Recorder(resources),
            policy=Policy(True, None, ()),
            sourcing=Sourcing(store, dispatch, None),
        )

    async def reconcile(self) -> None:
        """Look at the job as it is now."""
        await self._pools.resync()
        await self._jobs.resync()
        await self._reconciler.reconcile(JOB)

    async def queued(self) -> list[tuple[str, ...]]:
        """The commands that the store has for the job."""
        uid = (await self.resources.get(SCAN_JOB, JOB))["metadata"]["uid"]
        specs = [msgspec.json.decode(task.spec, type=CommandTask) for task in await self._store.tasks(uid)]
        return [spec.argv for spec in specs]

    async def added(self) -> dict[str, float]:
        """When each job was submitted for the first time, by its uid."""
        return dict(await self._store.known_jobs())

    async def edit(self, **spec: Any) -> None:
        """Write to the spec, as any client may."""
        await self.resources.merge(SCAN_JOB, JOB, {"spec": spec})


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    resources, store = EmbeddedResources(tmp_path / "objects.db"), SqliteStore(tmp_path / "store")
    async with Dispatcher(store, holder="test") as dispatch:
        await resources.create(WORKER_POOL, pool(allowedCommands=["any"]))
        await resources.create(SCAN_JOB, commands(["echo", "first"]))
        yield Bench(resources, store, dispatch)
    await store.close()
    await resources.close()


async def test_the_edited_tasks_take_the_place_of_those_that_were_queued(bench: Bench) -> None:
    await bench.reconcile()
    assert await bench.queued() == [("echo", "first")]
    await bench.edit(tasks=[{"id": "t0", "command": ["echo", "second"]}])
    await bench.reconcile()
    assert await bench.queued() == [("echo", "second")]


async def test_what_may_change_at_any_time_begins_nothing_anew(bench: Bench) -> None:
    await bench.reconcile()
    uid = (await bench.resources.get(SCAN_JOB, JOB))["metadata"]["uid"]
    await bench.edit(ttlSecondsAfterFinished=60)
    added = (await bench.added())[uid]
    await bench.reconcile()
    assert (await bench.added())[uid] == added
