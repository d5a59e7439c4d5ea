"""WorkerPools and their real workers: scale, crash, kill."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from mahavishnu_operator.resources.protocol import SCAN_JOB, WORKER_POOL

from .engine_tools import POOL, commands, condition, ended, engine, poll, pool, until_pool, wait_for_file

PYTHON = sys.executable
NOTE = "import sys, os; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n')"
WAIT_FOR_GATE = NOTE + "; import os, time\nwhile not os.path.exists(sys.argv[2]): time.sleep(0.02)"


def agents(folder: Path) -> dict[str, int]:
    """Pids of the agents that the backend has written down."""
    return {
        path.parent.name: int(json.loads(path.read_text())["pid"]) for path in folder.glob("workers/*/*/*/agent.pid")
    }


async def test_a_pool_scales_from_one_to_three_to_none(tmp_path: Path) -> None:
    async with engine(tmp_path) as made:
        await made.resources.create(WORKER_POOL, pool(replicas=1))
        one = await until_pool(made, lambda status: status.get("ready") == 1)
        assert condition(one["status"], "Ready") == ("True", "WorkersReady")
        await made.resources.scale(WORKER_POOL, POOL, 3)
        await until_pool(made, lambda status: status["ready"] == 3)
        assert len(agents(tmp_path)) == 3
        await made.resources.scale(WORKER_POOL, POOL, 0)
        none = await until_pool(made, lambda status: status["replicas"] == 0 and status["draining"] == 0)
        assert condition(none["status"], "Ready") == ("True", "ScaledToZero")
        assert agents(tmp_path) == {}
        assert none["status"]["lastScale"] | {"time": ""} == {
            "time": "",
            "from": 3,
            "to": 0,
            "reason": "ScalingDown",
        }


async def test_a_busy_worker_finishes_before_it_goes(tmp_path: Path) -> None:
    mark, gate = tmp_path / "mark", tmp_path / "gate"
    async with engine(tmp_path / "data") as made:
        await made.resources.create(WORKER_POOL, pool(replicas=1, allowedCommands=["any"]))
        await made.resources.create(SCAN_JOB, commands([PYTHON, "-c", WAIT_FOR_GATE, str(mark), str(gate)]))
        await wait_for_file(mark)
        await made.resources.scale(WORKER_POOL, POOL, 0)
        blocked = await until_pool(made, lambda status: condition(status, "ScaleDownBlocked")[0] == "True")
        assert blocked["status"]["draining"] == 1
        gate.touch()
        status = await ended(made)
        assert (status["phase"], status["tasks"]["retried"]) == ("Succeeded", 0)
        await until_pool(made, lambda status: status["replicas"] == 0)
    assert len(mark.read_text().splitlines()) == 1


async def test_the_task_of_a_killed_worker_runs_again_and_counts_once(tmp_path: Path) -> None:
    mark, gate = tmp_path / "mark", tmp_path / "gate"
    async with engine(tmp_path / "data") as made:
        await made.resources.create(WORKER_POOL, pool(replicas=1, allowedCommands=["any"]))
        await made.resources.create(SCAN_JOB, commands([PYTHON, "-c", WAIT_FOR_GATE, str(mark), str(gate)]))
        await wait_for_file(mark)
        (pid,) = agents(tmp_path / "data").values()
        os.kill(pid, signal.SIGKILL)
        await poll(lambda: len(mark.read_text().splitlines()) == 2)
        gate.touch()
        status = await ended(made)
    assert (status["phase"], status["tasks"]["total"], status["tasks"]["succeeded"]) == ("Succeeded", 1, 1)
    assert status["tasks"]["retried"] == 1
    assert len(mark.read_text().splitlines()) == 2


async def test_workers_that_cannot_start_are_a_crash_loop_with_their_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mahavishnu_operator.control.crashes.FIRST_BACKOFF_SECONDS", 0.05)
    script = "import sys; sys.stdin.readline(); sys.exit('no such library')"
    monkeypatch.setattr("mahavishnu_operator.backends.local_process.AGENT", (PYTHON, "-S", "-c", script))
    async with engine(tmp_path) as made:
        await made.resources.create(WORKER_POOL, pool(replicas=2))
        looping = await until_pool(made, lambda status: condition(status, "Ready")[1] == "CrashLoop")
    message = next(c["message"] for c in looping["status"]["conditions"] if c["type"] == "Ready")
    assert "no such library" in message
    assert condition(looping["status"], "Stalled") == ("True", "CrashLoop")
    assert looping["status"]["ready"] == 0


async def test_deleting_a_pool_stops_its_workers(tmp_path: Path) -> None:
    async with engine(tmp_path) as made:
        await made.resources.create(WORKER_POOL, pool(replicas=2))
        await until_pool(made, lambda status: status.get("ready") == 2)
        pids = list(agents(tmp_path).values())
        await made.resources.delete(WORKER_POOL, POOL)
        await poll(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


async def test_a_changed_template_replaces_idle_workers(tmp_path: Path) -> None:
    async with engine(tmp_path) as made:
        await made.resources.create(WORKER_POOL, pool(replicas=1))
        await until_pool(made, lambda status: status.get("ready") == 1)
        before = set(agents(tmp_path))
        await made.resources.merge(WORKER_POOL, POOL, {"spec": {"slotsPerWorker": 4}})
        await until_pool(
            made,
            lambda status: status["ready"] == 1 and status["draining"] == 0 and not before & set(agents(tmp_path)),
        )


async def test_leaving_the_engine_leaves_no_process(tmp_path: Path) -> None:
    async with engine(tmp_path) as made:
        await made.resources.create(WORKER_POOL, pool(replicas=2))
        await until_pool(made, lambda status: status.get("ready") == 2)
        pids = list(agents(tmp_path).values())
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
