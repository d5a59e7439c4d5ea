"""What was acknowledged is there after a kill -9, once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mahavishnu_operator.store.records import TaskState
from mahavishnu_operator.store.sqlite import SqliteStore
from mahavishnu_operator.support.errors import Conflict

WRITER = """
import asyncio, sys
from pathlib import Path
from mahavishnu_operator.store.records import *
from mahavishnu_operator.store.sqlite import SqliteStore

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    epoch = await store.take_epoch("writer")
    async def one(number):
        key = TaskKey("u1", f"t{number}")
        await store.add_job(epoch, JobRecord("u1", "ns", "j", "ns/p"), [TaskRecord(key, number, b"{}")])
        await store.record_grants(epoch, [GrantRecord(key, 1, epoch, "w", 0.0, 15.0)])
        await store.record_results(epoch, [ResultRecord(key, 1, TaskState.SUCCEEDED, b"{}", 0.0)])
        print(key.task, flush=True)
    for start in range(0, 100_000, 8):
        await asyncio.gather(*(one(number) for number in range(start, start + 8)))

asyncio.run(main())
"""


@pytest.mark.parametrize("acknowledged", [1, 40, 333])
async def test_every_acknowledged_result_is_there_once_after_a_kill(tmp_path: Path, acknowledged: int) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        seen = [writer.stdout.readline().strip() for _ in range(acknowledged)]
        writer.kill()
        seen += [line.strip() for line in writer.stdout if line.endswith("\n")]
    store = SqliteStore(tmp_path)
    try:
        found = [result.key.task for _, result in await store.results("u1", limit=200_000)]
        states = {task.key.task: task.state for task in await store.tasks("u1")}
    finally:
        await store.close()
    assert set(seen) <= set(found)
    assert len(found) == len(set(found))
    assert {states[task] for task in found} == {TaskState.SUCCEEDED}


async def test_a_second_process_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    code = "from pathlib import Path; from mahavishnu_operator.store.sqlite import SqliteStore; SqliteStore(Path('{}'))"
    try:
        with pytest.raises(Conflict, match="in use by process"):
            SqliteStore(tmp_path)
        second = subprocess.run(
            [sys.executable, "-c", code.format(tmp_path)], capture_output=True, text=True, check=False
        )
    finally:
        await store.close()
    assert second.returncode != 0
    assert "in use by process" in second.stderr
