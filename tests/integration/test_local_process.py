"""The local-process backend with the real agent and a real dispatcher; and a parent that is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from mahavishnu_operator.resources.protocol import SCAN_JOB, WORKER_POOL, Key

from .engine_tools import JOB, POOL, commands, ended, engine, poll, pool, until_job, until_pool, wait_for_file

PYTHON = sys.executable
NOTE = "import sys, os; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n')"
WAIT_FOR_GATE = NOTE + "; import os, time\nwhile not os.path.exists(sys.argv[2]): time.sleep(0.02)"
# an engine in a process of its own, until it is killed
ENGINE = """
import asyncio, sys
from pathlib import Path
from mahavishnu_operator.control.embedded import EmbeddedEngine
from mahavishnu_operator.control.engine import EngineOptions
async def main():
    options = EngineOptions(Path(sys.argv[1]), dispatch_port=0, enable_local_process=True, path_roots=None)
    async with EmbeddedEngine(options) as engine:
        await engine.failed()
asyncio.run(main())
"""


async def kill_engine_in_mid_task(folder: Path, mark: Path) -> set[int]:
    """Run an engine in another process until its task runs, kill it with -9; the pids that it had started."""
    process = subprocess.Popen([PYTHON, "-c", ENGINE, str(folder)])
    try:
        await wait_for_file(mark)
        family = {child.pid for child in psutil.Process(process.pid).children(recursive=True)}
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return family


async def test_a_job_goes_on_after_the_engine_was_killed_and_counts_each_task_once(tmp_path: Path) -> None:
    folder, mark, gate = tmp_path / "data", tmp_path / "mark", tmp_path / "gate"
    async with engine(folder) as made:
        await made.resources.create(WORKER_POOL, pool(replicas=0, allowedCommands=["any"]))
        waiting = [PYTHON, "-c", WAIT_FOR_GATE, str(mark), str(gate)]
        await made.resources.create(SCAN_JOB, commands(waiting, ["true"], ["true"]))
        await until_job(made, lambda status: status.get("tasks", {}).get("queued") == 3)
        await made.resources.merge(WORKER_POOL, POOL, {"spec": {"replicas": 1}})
    family = await kill_engine_in_mid_task(folder, mark)
    assert family
    async with engine(folder) as made:
        await poll(lambda: not [pid for pid in family if psutil.pid_exists(pid)])
        gate.touch()
        status = await ended(made)
    assert (status["phase"], status["tasks"]["total"], status["tasks"]["succeeded"]) == ("Succeeded", 3, 3)
    assert status["tasks"]["retried"] == 1


async def test_no_process_outlives_a_killed_engine(tmp_path: Path) -> None:
    folder, mark = tmp_path / "data", tmp_path / "mark"
    async with engine(folder) as made:
        await made.resources.create(WORKER_POOL, pool(replicas=2, allowedCommands=["any"]))
        await until_pool(made, lambda status: status.get("ready") == 2)
        hang = [PYTHON, "-c", NOTE + "; import time; time.sleep(600)", str(mark)]
        await made.resources.create(SCAN_JOB, commands(hang))
        await wait_for_file(mark)
    mark.unlink()
    family = await kill_engine_in_mid_task(folder, mark)
    family.add(int(mark.read_text().split()[0]))
    await poll(lambda: not [pid for pid in family if psutil.pid_exists(pid)])


async def test_a_finished_job_is_not_run_again_by_the_next_engine(tmp_path: Path) -> None:
    folder, mark = tmp_path / "data", tmp_path / "mark"
    async with engine(folder) as made:
        await made.resources.create(WORKER_POOL, pool(allowedCommands=["any"]))
        await made.resources.create(SCAN_JOB, commands([PYTHON, "-c", NOTE, str(mark)]))
        before = await ended(made)
    for file in folder.glob("engine.db*"):
        os.unlink(file)  # the store is lost; the status is what is left
    async with engine(folder) as made:
        await until_pool(made, lambda status: status.get("ready") == 1)
        second = commands([PYTHON, "-c", NOTE, str(mark)], key=Key("default", "second"))
        await made.resources.create(SCAN_JOB, second)
        await asyncio.wait_for(made.wait_terminal(Key("default", "second")), 30)
        assert (await made.resources.get(SCAN_JOB, JOB))["status"] == before
    assert len(mark.read_text().splitlines()) == 2


async def test_an_unfinished_job_that_the_store_lost_is_done_anew(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    async with engine(folder) as made:
        await made.resources.create(WORKER_POOL, pool(replicas=0))
        await made.resources.create(SCAN_JOB, commands(["true"]))
        await until_job(made, lambda status: status.get("tasks", {}).get("queued") == 1)
    for file in folder.glob("engine.db*"):
        os.unlink(file)
    async with engine(folder) as made:
        await made.resources.merge(WORKER_POOL, POOL, {"spec": {"replicas": 1}})
        assert (await ended(made))["phase"] == "Succeeded"
