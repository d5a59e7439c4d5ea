"""ScanJobs from creation to their end, through store, dispatcher and real workers."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from mahavishnu_operator.resources.protocol import SCAN_JOB, WORKER_POOL, EventType
from mahavishnu_operator.support.errors import NotFound

from .engine_tools import (
    JOB,
    commands,
    condition,
    ended,
    engine,
    poll,
    pool,
    scan,
    until_job,
    wait_for_file,
)

PYTHON = sys.executable
ANY = {"allowedCommands": ["any"]}
NOTE = "import sys, os; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n')"
HANG = NOTE + "; import time; time.sleep(600)"


async def test_tasks_that_succeed_complete_the_job(tmp_path: Path) -> None:
    async with engine(tmp_path) as made:
        await made.resources.create(WORKER_POOL, pool())
        await made.resources.create(SCAN_JOB, commands(["true"], ["builtin:noop"], ["echo", "hello"]))
        status = await ended(made)
    assert (status["phase"], status["verdict"]) == ("Succeeded", "Passed")
    assert status["tasks"] | {"retried": 0} == status["tasks"]
    assert (status["tasks"]["total"], status["tasks"]["succeeded"]) == (3, 3)
    assert condition(status, "Complete") == ("True", "Completed")
    assert [result["status"] for result in status["results"]] == ["succeeded"] * 3
    assert status["startTime"] <= status["completionTime"]


async def test_a_task_that_fails_fails_the_job_and_is_named(tmp_path: Path) -> None:
    async with engine(tmp_path) as made:
        await made.resources.create(WORKER_POOL, pool())
        await made.resources.create(SCAN_JOB, commands(["true"], ["false"], maxAttempts=1))
        status = await ended(made)
    assert (status["phase"], status["verdict"]) == ("Failed", "Failed")
    assert (status["tasks"]["succeeded"], status["tasks"]["failed"]) == (1, 1)
    assert condition(status, "Failed") == ("True", "TasksFailed")
    assert status["results"][1]["exitCode"] == 1


async def test_a_task_that_fails_is_tried_as_often_as_asked(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    async with engine(tmp_path / "data") as made:
        await made.resources.create(WORKER_POOL, pool(**ANY))
        failing = [PYTHON, "-c", NOTE + "; sys.exit(3)", str(mark)]
        await made.resources.create(SCAN_JOB, commands(failing, maxAttempts=2))
        status = await ended(made)
    assert len(mark.read_text().splitlines()) == 2
    assert (status["tasks"]["failed"], status["tasks"]["retried"]) == (1, 1)


async def test_a_job_within_two_seconds_costs_at_most_two_status_writes(tmp_path: Path) -> None:
    async with engine(tmp_path) as made:
        await made.resources.create(WORKER_POOL, pool())
        since = (await made.resources.list(WORKER_POOL)).resource_version
        await made.resources.create(SCAN_JOB, commands(*[["builtin:noop"]] * 50))
        await ended(made)
        writes = 0
        async with asyncio.timeout(10):
            async for event in made.resources.watch(SCAN_JOB, since=since):
                writes += event.type is EventType.MODIFIED
                if (event.object.get("status") or {}).get("phase") == "Succeeded":
                    break
    assert writes <= 2


async def test_a_scan_ends_with_a_verdict_and_a_stored_report(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "dirty.py").write_text("import os\nprint( undefined_name )\n")
    (source / "clean.py").write_text('"""Nothing."""\n')
    async with engine(tmp_path / "data") as made:
        await made.resources.create(WORKER_POOL, pool())
        job = await made.resources.create(SCAN_JOB, scan(source, "ruff", "codespell"))
        status = await ended(made)
        report = await made.report(job["metadata"]["uid"])
    assert (status["phase"], status["verdict"]) == ("Succeeded", "Failed")
    assert condition(status, "Planned") == ("True", "Planned")
    assert condition(status, "ResultsStored") == ("True", "Stored")
    assert status["findings"]["byTool"]["ruff"] >= 2
    assert status["report"]["uri"] == f"/results/v1/jobs/{job['metadata']['uid']}/report.sarif"
    assert report is not None
    assert len(report.sarif) == status["report"]["bytes"]
    assert b"undefined_name" in report.sarif


async def test_a_clean_tree_passes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "clean.py").write_text('"""Nothing."""\n')
    async with engine(tmp_path / "data") as made:
        await made.resources.create(WORKER_POOL, pool())
        await made.resources.create(SCAN_JOB, scan(source, "ruff"))
        status = await ended(made)
    assert (status["phase"], status["verdict"], status["findings"]["total"]) == ("Succeeded", "Passed", 0)


async def test_a_tree_in_which_no_tool_finds_a_file_is_incomplete(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    async with engine(tmp_path / "data") as made:
        await made.resources.create(WORKER_POOL, pool())
        await made.resources.create(SCAN_JOB, scan(source, "ruff"))
        status = await ended(made)
    assert (status["phase"], status["verdict"], status["tasks"]["total"]) == ("Failed", "Incomplete", 0)
    assert condition(status, "Failed") == ("True", "Incomplete")


async def test_a_folder_that_is_not_there_fails_the_plan_in_words(tmp_path: Path) -> None:
    async with engine(tmp_path / "data") as made:
        await made.resources.create(WORKER_POOL, pool())
        await made.resources.create(SCAN_JOB, scan(tmp_path / "nowhere", "ruff"))
        status = await ended(made)
    assert (status["phase"], condition(status, "Failed")) == ("Failed", ("True", "PlanFailed"))
    assert "nowhere" in next(c["message"] for c in status["conditions"] if c["type"] == "Failed")


async def test_a_folder_outside_the_roots_is_refused(tmp_path: Path) -> None:
    async with engine(tmp_path / "data", path_roots=(tmp_path / "allowed",)) as made:
        await made.resources.create(WORKER_POOL, pool())
        await made.resources.create(SCAN_JOB, scan(tmp_path / "elsewhere", "ruff"))
        status = await ended(made)
    assert condition(status, "Accepted") == ("False", "PathNotAllowed")
    assert condition(status, "Stalled")[0] == "True"


async def test_a_switched_off_backend_is_said(tmp_path: Path) -> None:
    async with engine(tmp_path / "data", enable_local_process=False) as made:
        await made.resources.create(WORKER_POOL, pool())
        await made.resources.create(SCAN_JOB, commands(["true"]))
        status = await ended(made)
    assert condition(status, "Accepted") == ("False", "BackendDisabled")


async def test_a_job_waits_for_its_pool_and_then_runs(tmp_path: Path) -> None:
    async with engine(tmp_path) as made:
        await made.resources.create(SCAN_JOB, commands(["true"]))
        waiting = await until_job(made, lambda status: condition(status, "Accepted")[0] == "False")
        assert condition(waiting["status"], "Accepted") == ("False", "PoolNotFound")
        await made.resources.create(WORKER_POOL, pool())
        assert (await ended(made))["phase"] == "Succeeded"


async def test_a_job_that_no_worker_takes_times_out_in_the_queue(tmp_path: Path) -> None:
    async with engine(tmp_path) as made:
        await made.resources.create(WORKER_POOL, pool(replicas=0))
        await made.resources.create(SCAN_JOB, commands(["true"], queueTimeoutSeconds=1))
        status = await ended(made)
    assert condition(status, "Failed") == ("True", "QueueTimedOut")
    assert status["tasks"]["cancelled"] == 1


async def test_a_job_over_its_time_ends_and_its_processes_too(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    slow = [PYTHON, "-c", NOTE + "; import time; time.sleep(2)", str(mark)]  # none of them is over its own time
    async with engine(tmp_path / "data") as made:
        await made.resources.create(WORKER_POOL, pool(**ANY))
        job = commands(["true"], *[slow] * 10, timeoutSeconds=5, taskTimeoutSeconds=5)
        await made.resources.create(SCAN_JOB, job)
        status = await ended(made)
        assert not any(Path(f"/proc/{pid}").exists() for pid in mark.read_text().split())
    assert (status["phase"], condition(status, "Failed")) == ("Failed", ("True", "TimedOut"))
    assert status["tasks"]["succeeded"] >= 1
    assert status["tasks"]["cancelled"] >= 7


async def test_a_task_over_its_time_is_ended_and_the_others_go_on(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    async with engine(tmp_path / "data") as made:
        await made.resources.create(WORKER_POOL, pool(**ANY))
        job = commands([PYTHON, "-c", HANG, str(mark)], ["true"], taskTimeoutSeconds=2, maxAttempts=1)
        await made.resources.create(SCAN_JOB, job)
        status = await ended(made)
        assert not Path(f"/proc/{mark.read_text().split()[0]}").exists()
    assert condition(status, "Failed") == ("True", "TasksFailed")
    assert [result["status"] for result in status["results"]] == ["timed-out", "succeeded"]


async def test_a_task_that_failed_waits_before_its_next_try_and_holds_up_no_other(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    note = "import sys, time; open(sys.argv[1], 'a').write(f'{time.time()}\\n')"
    async with engine(tmp_path / "data") as made:
        await made.resources.create(WORKER_POOL, pool(**ANY))
        failing = [PYTHON, "-c", note + "; sys.exit(3)", str(first)]
        await made.resources.create(SCAN_JOB, commands(failing, [PYTHON, "-c", note, str(second)], maxAttempts=3))
        status = await ended(made)
    tries, other = [float(line) for line in first.read_text().split()], float(second.read_text())
    assert (status["tasks"]["failed"], status["tasks"]["retried"]) == (1, 2)
    assert tries[1] - tries[0] >= 1.0
    assert tries[2] - tries[1] >= 2.0
    assert tries[0] < other < tries[2]


async def test_cancelling_keeps_what_is_done_and_ends_what_runs(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    async with engine(tmp_path / "data") as made:
        await made.resources.create(WORKER_POOL, pool(**ANY))
        hanging = [PYTHON, "-c", HANG, str(mark)]
        job = await made.resources.create(SCAN_JOB, commands(["true"], hanging, ["true"]))
        pid = (await wait_for_file(mark)).split()[0]
        await made.resources.merge(SCAN_JOB, JOB, {"spec": {"cancel": True}})
        status = await ended(made)
        assert not Path(f"/proc/{pid}").exists()
        kept = await made.dispatch.results(job["metadata"]["uid"])
    assert [(task, result.status) for task, result in kept] == [
        ("t0", "succeeded"),
        ("t1", "cancelled"),
        ("t2", "cancelled"),
    ]
    assert [result["status"] for result in status["results"]] == ["succeeded", "cancelled", "cancelled"]
    assert status["phase"] == "Cancelled"
    assert (status["tasks"]["succeeded"], status["tasks"]["cancelled"]) == (1, 2)
    assert condition(status, "Failed") == ("True", "Cancelled")


async def test_a_suspended_job_starts_nothing_until_it_is_resumed(tmp_path: Path) -> None:
    async with engine(tmp_path) as made:
        await made.resources.create(WORKER_POOL, pool())
        await made.resources.create(SCAN_JOB, commands(["true"], suspend=True))
        waiting = await until_job(made, lambda status: condition(status, "Suspended")[0] == "True")
        assert waiting["status"]["phase"] == "Pending"
        await made.resources.merge(SCAN_JOB, JOB, {"spec": {"suspend": False}})
        status = await ended(made)
    assert (status["phase"], condition(status, "Suspended")) == ("Succeeded", ("False", "Resumed"))


async def test_suspending_lets_the_running_task_end_and_holds_the_next(tmp_path: Path) -> None:
    first, gate, second = tmp_path / "first", tmp_path / "gate", tmp_path / "second"
    wait_for_gate = NOTE + "; import os, time\nwhile not os.path.exists(sys.argv[2]): time.sleep(0.02)"
    async with engine(tmp_path / "data") as made:
        await made.resources.create(WORKER_POOL, pool(**ANY))
        job = commands([PYTHON, "-c", wait_for_gate, str(first), str(gate)], [PYTHON, "-c", NOTE, str(second)])
        await made.resources.create(SCAN_JOB, job)
        await wait_for_file(first)
        await made.resources.merge(SCAN_JOB, JOB, {"spec": {"suspend": True}})
        await until_job(made, lambda status: condition(status, "Suspended")[0] == "True")
        gate.touch()
        held = await until_job(made, lambda status: status["tasks"]["succeeded"] == 1)
        assert held["status"]["tasks"]["queued"] == 1
        assert not second.exists()
        await made.resources.merge(SCAN_JOB, JOB, {"spec": {"suspend": False}})
        assert (await ended(made))["tasks"]["succeeded"] == 2


async def test_a_finished_job_is_deleted_after_its_time(tmp_path: Path) -> None:
    async with engine(tmp_path) as made:
        await made.resources.create(WORKER_POOL, pool())
        since = (await made.resources.list(SCAN_JOB)).resource_version
        job = await made.resources.create(SCAN_JOB, commands(["true"], ttlSecondsAfterFinished=1))
        async with asyncio.timeout(30):
            async for event in made.resources.watch(SCAN_JOB, since=since):
                if event.type is EventType.DELETED:
                    assert event.object["status"]["phase"] == "Succeeded"
                    break
        await poll(lambda: made.dispatch.progress(job["metadata"]["uid"]) is None)


async def test_deleting_a_job_stops_its_processes(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    async with engine(tmp_path / "data") as made:
        await made.resources.create(WORKER_POOL, pool(**ANY))
        await made.resources.create(SCAN_JOB, commands([PYTHON, "-c", HANG, str(mark)]))
        pid = (await wait_for_file(mark)).split()[0]
        await made.resources.delete(SCAN_JOB, JOB)
        await poll(lambda: not Path(f"/proc/{pid}").exists())
        with pytest.raises(NotFound):
            await made.wait_terminal(JOB)


async def test_a_command_that_the_pool_does_not_allow_is_refused_by_name(tmp_path: Path) -> None:
    async with engine(tmp_path) as made:
        await made.resources.create(WORKER_POOL, pool())
        await made.resources.create(SCAN_JOB, commands(["rm", "-rf", "x"]))
        status = await ended(made)
    assert condition(status, "Accepted") == ("False", "CommandNotAllowed")
