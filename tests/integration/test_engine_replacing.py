"""Real workers that are replaced: by recycle, by name, and for an edit while they have work."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from mahavishnu_operator.control.embedded import EmbeddedEngine
from mahavishnu_operator.resources.protocol import SCAN_JOB, WORKER_POOL, Key

from .engine_tools import DEADLINE, POOL, commands, ended, engine, poll, pool, until_pool, wait_for_file
from .test_engine_pools import PYTHON, WAIT_FOR_GATE, agents

WHO = "import os, sys, time; time.sleep(0.05); open(sys.argv[1], 'a').write(f'{os.getppid()}\\n')"


async def statuses(made: EmbeddedEngine, seen: list[dict[str, Any]]) -> None:
    """Keep every status of the pool, until cancelled."""
    obj = await made.resources.get(WORKER_POOL, POOL)
    since = obj["metadata"]["resourceVersion"]
    async for event in made.resources.watch(WORKER_POOL, namespace=POOL.namespace, since=since):
        seen.append(event.object["status"])


async def test_workers_are_recycled_under_endless_work_and_nothing_is_lost(tmp_path: Path) -> None:
    who, tasks, runs = tmp_path / "who", 0, list[str]()
    async with engine(tmp_path / "data") as made, asyncio.timeout(DEADLINE):
        recycle = {"maxTasks": 5}
        await made.resources.create(WORKER_POOL, pool(replicas=2, recycle=recycle, allowedCommands=["any"]))
        while len(set(runs)) < 5:  # of the first two at least one, and two that came for others, have gone
            key = Key(POOL.namespace, f"job-{tasks}")
            await made.resources.create(SCAN_JOB, commands(*[[PYTHON, "-c", WHO, str(who)]] * 20, key=key))
            counted = (await ended(made, key))["tasks"]
            assert (counted["succeeded"], counted["retried"]) == (20, 0)
            tasks, runs = tasks + 20, who.read_text().split()
    assert len(runs) == tasks


async def test_a_worker_that_is_old_enough_is_replaced_while_the_pool_has_nothing_to_do(tmp_path: Path) -> None:
    async with engine(tmp_path) as made:
        await made.resources.create(WORKER_POOL, pool(replicas=1, recycle={"maxAgeSeconds": 3}))
        await until_pool(made, lambda status: status.get("ready") == 1)
        (first,) = agents(tmp_path)
        await poll(lambda: bool(agents(tmp_path)) and first not in agents(tmp_path))


async def test_a_busy_worker_that_is_closed_by_name_finishes_and_the_others_stay(tmp_path: Path) -> None:
    mark, gate = tmp_path / "mark", tmp_path / "gate"
    async with engine(tmp_path / "data") as made:
        await made.resources.create(WORKER_POOL, pool(replicas=1, allowedCommands=["any"]))
        await made.resources.create(SCAN_JOB, commands([PYTHON, "-c", WAIT_FOR_GATE, str(mark), str(gate)]))
        await wait_for_file(mark)
        (busy,) = agents(tmp_path / "data")
        await made.resources.scale(WORKER_POOL, POOL, 3)
        await until_pool(made, lambda status: status["ready"] == 3)
        others = set(agents(tmp_path / "data")) - {busy}
        await made.resources.merge(WORKER_POOL, POOL, {"spec": {"retireWorkers": [busy, "long-gone"], "replicas": 2}})
        await until_pool(made, lambda status: (status["ready"], status["draining"]) == (2, 1))
        assert set(agents(tmp_path / "data")) == {busy, *others}
        gate.touch()
        assert (await ended(made))["tasks"]["retried"] == 0
        await until_pool(made, lambda status: (status["replicas"], status["draining"]) == (2, 0))
        assert set(agents(tmp_path / "data")) == others
    assert len(mark.read_text().splitlines()) == 1


async def test_an_edit_under_load_replaces_all_and_leaves_the_pool_no_smaller_meanwhile(tmp_path: Path) -> None:
    who, seen = tmp_path / "who", list[dict[str, Any]]()
    who.touch()
    async with engine(tmp_path / "data") as made:
        await made.resources.create(WORKER_POOL, pool(replicas=3, maxWorkers=5, allowedCommands=["any"]))
        await until_pool(made, lambda status: status.get("ready") == 3)
        before = set(agents(tmp_path / "data"))
        await made.resources.create(SCAN_JOB, commands(*[[sys.executable, "-c", WHO, str(who)] for _ in range(80)]))
        await poll(lambda: len(who.read_text().split()) >= 5)
        watch = asyncio.create_task(statuses(made, seen))
        await made.resources.merge(WORKER_POOL, POOL, {"spec": {"slotsPerWorker": 2}})
        status = await ended(made)
        await poll(lambda: not before & set(agents(tmp_path / "data")))
        await until_pool(made, lambda status: (status["replicas"], status["draining"]) == (3, 0))
        watch.cancel()
    assert (status["phase"], status["tasks"]["succeeded"], status["tasks"]["retried"]) == ("Succeeded", 80, 0)
    assert len(who.read_text().split()) == 80
    assert min(status["ready"] for status in seen) == 3
    assert max(status["replicas"] for status in seen) <= 5
