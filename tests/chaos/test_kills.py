"""Promise 1 under kill -9: whatever dies, each task counts exactly once, and nothing is left running."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import psutil
import pytest
import yaml

from tests.integration.cli_tools import Up, running_up

TASKS = 200
KILLS = 40
DEADLINE_SECONDS = 600.0
# Says that it ran in a file of its own, and takes a moment in which it can be killed.
MARK = "import sys, time; open(sys.argv[1], 'a').write('ran\\n'); time.sleep(0.1)"


def manifests(marks: Path) -> str:
    kind = {"apiVersion": "mahavishnu.dev/v1alpha1", "metadata": {"name": "chaos"}}
    pool = {"backend": "local-process", "replicas": 3, "allowedCommands": ["any"]}
    tasks = [{"id": f"t{n}", "command": ["python3", "-c", MARK, str(marks / f"t{n}")]} for n in range(TASKS)]
    job = {"poolRef": {"name": "chaos"}, "tasks": tasks, "maxAttempts": 10}
    return yaml.safe_dump_all([kind | {"kind": "WorkerPool", "spec": pool}, kind | {"kind": "ScanJob", "spec": job}])


def status(up: Up) -> dict[str, object]:
    done = up.run("get", "sj", "chaos", "-o", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)["status"]
    return found


def wait_for_marks(marks: Path, number: int) -> None:
    """Until that many tasks have begun at least once."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while len(list(marks.iterdir())) < number:
        assert time.monotonic() < deadline, "the job does not go on"
        time.sleep(0.02)


def kill_one(up: Up, chance: random.Random) -> bool:
    """kill -9 the server (rarely) or something below it: an agent, a runner or a tool. True: the server."""
    below = psutil.Process(up.process.pid).children(recursive=True)
    if not below or chance.random() < 0.15:
        _, alive = psutil.wait_procs(up.kill(), timeout=30)
        assert not alive, "a worker outlived its server"
        return True
    victim = chance.choice(below)
    if victim.is_running():
        victim.kill()
    return False


@pytest.mark.long
@pytest.mark.timeout(DEADLINE_SECONDS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_task_counts_once_whatever_is_killed(tmp_path: Path, seed: int) -> None:
    chance, kills = random.Random(seed), 0
    marks, data = tmp_path / "marks", tmp_path / "data"
    marks.mkdir()
    (tmp_path / "chaos.yaml").write_text(manifests(marks))
    begun = False
    while kills < KILLS:
        with running_up(data) as up:
            if not begun:
                assert up.run("apply", "-f", tmp_path / "chaos.yaml").returncode == 0
                begun = True
            while kills < KILLS:
                kills += 1
                wait_for_marks(marks, min(TASKS, kills * TASKS // (KILLS + 5)))
                if kill_one(up, chance):
                    break
    with running_up(data) as up:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while (last := status(up)).get("phase") not in ("Succeeded", "Failed"):
            assert time.monotonic() < deadline, f"the job does not end: {last}"
            time.sleep(0.2)
        counts = last["tasks"]
        below = psutil.Process(up.process.pid).children(recursive=True)
    assert isinstance(counts, dict)
    assert (counts["total"], counts["succeeded"], counts["failed"]) == (TASKS, TASKS, 0), last
    assert len(list(marks.iterdir())) == TASKS
    _, alive = psutil.wait_procs(below, timeout=30)
    assert not alive
