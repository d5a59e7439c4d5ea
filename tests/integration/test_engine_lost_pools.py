"""Jobs whose tasks are queued in a pool that is deleted, suspended or refused meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mahavishnu_operator.control.embedded import EmbeddedEngine
from mahavishnu_operator.resources.protocol import SCAN_JOB, WORKER_POOL, Obj

from .engine_tools import JOB, POOL, commands, condition, ended, engine, manifest, pool, until_job

TRUE = ["true"]
ROUTED: Obj = manifest("ScanJob", JOB, {"routing": {}, "tasks": [{"id": "t", "command": TRUE}]})


async def given(made: EmbeddedEngine, job: Obj) -> None:
    """Give a job to a pool without workers."""
    await made.resources.create(WORKER_POOL, pool(replicas=0))
    await made.resources.create(SCAN_JOB, job)
    await until_job(made, lambda status: condition(status, "Planned")[0] == "True")


def words(status: dict[str, Any], type_: str) -> str:
    return next(str(c["message"]) for c in status["conditions"] if c["type"] == type_)


@pytest.mark.parametrize("job", [commands(TRUE), ROUTED], ids=["named", "routed"])
async def test_a_job_whose_pool_was_deleted_says_so_and_goes_on_once_it_is_there_again(
    tmp_path: Path, job: Obj
) -> None:
    async with engine(tmp_path) as made:
        await given(made, job)
        await made.resources.delete(WORKER_POOL, POOL)
        obj = await until_job(made, lambda status: condition(status, "Ready") == ("False", "PoolNotFound"))
        assert "WorkerPool default/pool, which has the job's tasks, was deleted" in words(obj["status"], "Reconciling")
        await made.resources.create(WORKER_POOL, pool(replicas=1))
        status = await ended(made)
    assert (status["phase"], status["tasks"]["succeeded"]) == ("Succeeded", 1)


@pytest.mark.parametrize(
    ("limit", "reason"), [("queueTimeoutSeconds", "QueueTimedOut"), ("timeoutSeconds", "TimedOut")]
)
async def test_a_job_whose_pool_was_deleted_times_out_and_says_why(tmp_path: Path, limit: str, reason: str) -> None:
    job = commands(TRUE)
    job["spec"][limit] = 3
    async with engine(tmp_path) as made:
        await given(made, job)
        await made.resources.delete(WORKER_POOL, POOL)
        status = await ended(made)
    assert condition(status, "Failed") == ("True", reason)
    assert "was deleted" in words(status, "Failed")


async def test_a_job_whose_pool_is_suspended_says_so_until_that_is_lifted(tmp_path: Path) -> None:
    async with engine(tmp_path) as made:
        await given(made, commands(TRUE))
        await made.resources.merge(WORKER_POOL, POOL, {"spec": {"suspend": True}})
        await until_job(made, lambda status: condition(status, "Ready") == ("False", "PoolSuspended"))
        await made.resources.merge(WORKER_POOL, POOL, {"spec": {"suspend": False, "replicas": 1}})
        status = await ended(made)
    assert status["phase"] == "Succeeded"


async def test_a_job_whose_pool_is_refused_after_an_edit_says_why(tmp_path: Path) -> None:
    async with engine(tmp_path) as made:
        await given(made, commands(TRUE))
        await made.resources.merge(WORKER_POOL, POOL, {"spec": {"workerType": "terminal-claude"}})
        obj = await until_job(made, lambda status: condition(status, "Ready") == ("False", "PoolNotAccepted"))
        assert "workerType" in words(obj["status"], "Ready")
        await made.resources.merge(WORKER_POOL, POOL, {"spec": {"workerType": "command", "replicas": 1}})
        status = await ended(made)
    assert status["phase"] == "Succeeded"
