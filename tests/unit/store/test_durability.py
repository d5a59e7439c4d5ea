"""What was acknowledged is there after a kill -9, once; and which files of other versions are opened."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mahavishnu_operator.store.records import Recorded, TaskState
from mahavishnu_operator.store.schema import MIGRATIONS
from mahavishnu_operator.store.sqlite import SqliteStore
from mahavishnu_operator.support.database import Database
from mahavishnu_operator.support.errors import Conflict, InvalidInput

from .conftest import JOB, Clock, Holder

WRITER = """
import asyncio, sys
from pathlib import Path
import msgspec
from mahavishnu_operator.api.wire import TaskResult
from mahavishnu_operator.store.records import *
from mahavishnu_operator.store.sqlite import SqliteStore

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    epoch = await store.take_epoch("writer")
    async def one(number):
        key = TaskKey("u1", f"t{number}")
        await store.add_job(epoch, JobRecord("u1", "ns", "j", "ns/p"), [TaskRecord(key, number, b"{}")])
        await store.record_grants(epoch, [GrantRecord(key, 1, epoch, "w", 0.0, 15.0)])
        payload = await store.put_blob(epoch, key.task.encode())
        body = msgspec.json.encode(TaskResult(str(key), 1, "succeeded", payload_sha256=payload))
        await store.record_results(epoch, [ResultRecord(key, 1, TaskState.SUCCEEDED, body, 0.0)])
        print(key.task, flush=True)
    for start in range(0, 100_000, 8):
        await asyncio.gather(*(one(number) for number in range(start, start + 8)))

asyncio.run(main())
"""


@pytest.mark.parametrize("acknowledged", [1, 7, 40, 333, 1500])
async def test_every_acknowledged_result_is_there_once_after_a_kill(tmp_path: Path, acknowledged: int) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        seen = [writer.stdout.readline().strip() for _ in range(acknowledged)]
        writer.kill()
        seen += [line.strip() for line in writer.stdout if line.endswith("\n")]
    store = SqliteStore(tmp_path)
    try:
        results = {result.key.task: result for _, result in await store.results("u1", limit=200_000)}
        succeeded = {task.key.task for task in await store.tasks("u1") if task.state is TaskState.SUCCEEDED}
        open_grants = {grant.key.task for grant in await store.open_grants()}
        payloads = [await store.blob(json.loads(result.body)["payload_sha256"]) for result in results.values()]
    finally:
        await store.close()
    assert set(seen) <= set(results)
    assert succeeded == set(results)
    assert not open_grants & succeeded
    assert payloads == [task.encode() for task in results]


async def test_a_worker_that_saw_no_answer_delivers_again_after_the_restart(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    held = Holder(store, await store.take_epoch("first"), Clock())
    await held.add("t0")
    await held.grant("t0")
    await held.deliver("t0")
    await store.close()
    store = SqliteStore(tmp_path)
    held = Holder(store, await store.take_epoch("second"), Clock())
    again = await held.deliver("t0")
    await store.close()
    assert again == [Recorded.DUPLICATE]


async def test_a_folder_of_a_newer_version_is_refused_in_words(tmp_path: Path) -> None:
    newer = (*MIGRATIONS, "CREATE TABLE of_the_future (a TEXT);")
    await Database(tmp_path / "engine.db", newer).close()
    with pytest.raises(InvalidInput, match="newer version"):
        SqliteStore(tmp_path)


async def test_a_folder_of_this_version_is_opened_by_the_next_one_with_its_rows(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    await Holder(store, await store.take_epoch("first"), Clock()).add("t0")
    await store.close()
    next_version = (*MIGRATIONS, "ALTER TABLE jobs ADD COLUMN owner TEXT NOT NULL DEFAULT 'nobody';")
    database = Database(tmp_path / "engine.db", next_version)
    try:
        assert await database.read(lambda c: c.execute("SELECT uid, owner FROM jobs").fetchall()) == [("u1", "nobody")]
    finally:
        await database.close()


async def test_jobs_of_the_version_before_named_workers_are_for_any_worker(tmp_path: Path) -> None:
    database = Database(tmp_path / "engine.db", MIGRATIONS[:1])
    row = "INSERT INTO jobs VALUES ('u1', 'ns', 'job', 'ns/pool', 0, 0, 2, 600, 'open', 1)"
    await database.write(lambda c: c.execute(row).rowcount)
    await database.close()
    store = SqliteStore(tmp_path)
    try:
        assert await store.open_jobs() == [JOB]
    finally:
        await store.close()


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
