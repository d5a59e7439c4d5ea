"""Jobs that can never run as they are written, in the real engine: an end in words, and the engine goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from mahavishnu_operator.resources.protocol import SCAN_JOB, WORKER_POOL, Key

from .engine_tools import JOB, commands, condition, ended, engine, manifest, pool, until_job


@pytest.mark.parametrize("path", ["/srv/\0", "/" + "a/" * 2000 + "b", "/proc/self/mem"])
async def test_a_path_that_can_be_no_folder_ends_the_job_in_words(tmp_path: Path, path: str) -> None:
    async with engine(tmp_path / "data") as made:
        await made.resources.create(WORKER_POOL, pool())
        spec = {"poolRef": {"name": "pool"}, "source": {"path": path}, "scan": {"tools": ["ruff"]}}
        await made.resources.create(SCAN_JOB, manifest("ScanJob", JOB, spec))
        status = await ended(made)
        assert (status["phase"], status["verdict"] != "Passed") == ("Failed", True)
        assert any(path[:4] in each["message"] for each in status["conditions"] if each["status"] != "Unknown")
        after = Key("default", "after")
        await made.resources.create(SCAN_JOB, commands(["true"], key=after))
        assert (await ended(made, after))["phase"] == "Succeeded"


async def test_a_job_for_a_pool_that_never_comes_says_so_and_ends_with_its_queue_time(tmp_path: Path) -> None:
    async with engine(tmp_path / "data") as made:
        await made.resources.create(SCAN_JOB, commands(["true"], queueTimeoutSeconds=3))
        status = (await until_job(made, lambda s: condition(s, "Accepted") == ("False", "PoolNotFound")))["status"]
        assert "WorkerPool default/pool does not exist" in str(status["conditions"])
        assert (await ended(made))["phase"] == "Failed"


async def test_an_argument_that_no_program_can_be_given_fails_its_task_alone(tmp_path: Path) -> None:
    async with engine(tmp_path / "data") as made:
        await made.resources.create(WORKER_POOL, pool())
        await made.resources.create(SCAN_JOB, commands(["echo", "a\0b"], ["echo", "$(id)\n-n"]))
        status = await ended(made)
        assert {each["id"]: each["reason"] for each in status["results"]} == {
            "t0": "ArgumentInvalid",
            "t1": "Completed",
        }
