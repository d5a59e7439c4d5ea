"""The operator stopped, killed, absent or cut off in the middle of work: jobs go on, and each task counts once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mahavishnu_operator.resources.protocol import SCAN_JOB, WORKER_POOL
from tests.cluster.client import Cluster

from .operator_tools import GATED, HANG, NOTE, POOL, OperatorProcess, Site, account, counts, poll, python, written


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that jobs may read."""
    place = tmp_path / "root"
    place.mkdir()
    return place


@pytest.fixture
def operator(deployed: Cluster, folder: Path, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator of this test's own."""
    with OperatorProcess(account(deployed), tmp_path, root=folder) as process:
        yield process
        print(process.process.log_tail())


def below(operator: OperatorProcess) -> list[psutil.Process]:
    return psutil.Process(operator.process.pid).children(recursive=True)


async def begin_three_tasks(site: Site, folder: Path) -> None:
    """One task done, one that runs until the gate opens, one that waits."""
    await site.pool()
    tasks = python(NOTE, folder / "before"), python(GATED, folder / "during", folder / "gate")
    await site.commands("job", *tasks, python(NOTE, folder / "after"))
    await written(folder / "during")


def times(file: Path) -> int:
    """How often a task really ran."""
    return len(file.read_text().splitlines())


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
async def test_a_job_goes_on_after_a_restart_and_each_task_counts_once(
    how: str, site: Site, operator: OperatorProcess, folder: Path
) -> None:
    await begin_three_tasks(site, folder)
    processes = below(operator)
    if how == "SIGTERM":
        operator.process.stop()
    else:
        operator.process.kill()
    await poll(lambda: not any(process.is_running() for process in processes))
    (folder / "gate").touch()
    operator.start()
    status = await site.ended("job")
    assert status["phase"] == "Succeeded"
    assert {name: count for name, count in counts(status).items() if name != "retried"} == {"total": 3, "succeeded": 3}
    assert (times(folder / "before"), times(folder / "during"), times(folder / "after")) == (1, 2, 1)


async def test_sigterm_stops_it_in_words_with_nothing_left_behind(
    site: Site, operator: OperatorProcess, folder: Path
) -> None:
    await begin_three_tasks(site, folder)
    processes = below(operator)
    operator.process.stop()
    assert operator.process.exit_code == 0
    assert "stopping" in operator.process.log_tail()
    assert "Traceback" not in operator.process.log_tail()
    assert not any(process.is_running() for process in processes)


async def test_a_task_that_ends_within_the_grace_of_a_stop_runs_once(
    site: Site, operator: OperatorProcess, folder: Path
) -> None:
    await site.pool(drain={"graceSeconds": 30})
    await site.commands("job", python(GATED, folder / "during", folder / "gate"), python(NOTE, folder / "after"))
    await written(folder / "during")
    stopping = asyncio.create_task(asyncio.to_thread(operator.process.stop))
    await poll(lambda: "stopping" in operator.process.log.read_text())
    (folder / "gate").touch()
    await stopping
    operator.start()
    assert counts(await site.ended("job")) == {"total": 2, "succeeded": 2}
    assert (times(folder / "during"), times(folder / "after")) == (1, 1)


async def test_deleting_completes_at_once_with_the_operator_gone(
    site: Site, operator: OperatorProcess, folder: Path
) -> None:
    await site.pool()
    await site.commands("job", python(HANG, folder / "pid"))
    await written(folder / "pid")
    operator.process.kill()
    site.kubectl("delete", "sj,wp", "--all", "--timeout=5s")
    assert site.kubectl("get", "sj,wp", "-o", "name") == ""
    operator.start()
    await poll(lambda: "forgetting jobs whose objects are gone" in operator.process.log.read_text())


async def test_a_finished_job_does_not_run_again_after_a_restart_without_data(
    site: Site, operator: OperatorProcess, folder: Path, tmp_path: Path
) -> None:
    await site.pool()
    await site.commands("job", python(NOTE, folder / "ran"))
    await site.ended("job")
    operator.process.kill()
    (tmp_path / "data").rename(tmp_path / "lost")
    operator.start()
    await site.commands("next", python(NOTE, folder / "next"))
    await site.ended("next")
    assert times(folder / "ran") == 1


async def test_an_unfinished_job_runs_anew_when_its_data_is_lost(
    site: Site, operator: OperatorProcess, folder: Path, tmp_path: Path
) -> None:
    await begin_three_tasks(site, folder)
    processes = below(operator)
    operator.process.kill()
    await poll(lambda: not any(process.is_running() for process in processes))
    (tmp_path / "data").rename(tmp_path / "lost")
    (folder / "gate").touch()
    operator.start()
    assert counts(await site.ended("job")) == {"total": 3, "succeeded": 3}


async def test_what_changed_while_it_was_away_is_acted_on(site: Site, operator: OperatorProcess, folder: Path) -> None:
    await site.pool()
    await site.ready(1)
    operator.process.stop()
    site.kubectl("scale", "wp", POOL, "--replicas=2")
    await site.commands("job", python(NOTE, folder / "ran"))
    operator.start()
    await site.ready(2)
    assert (await site.ended("job"))["phase"] == "Succeeded"


async def test_objects_of_before_are_deleted_in_the_watch_of_after(
    site: Site, operator: OperatorProcess, folder: Path
) -> None:
    await site.pool()
    await site.commands("job", python(HANG, folder / "pid"))
    await written(folder / "pid")
    operator.process.stop()
    (folder / "pid").unlink()
    operator.start()
    pid = await written(folder / "pid")
    await site.resources.delete(SCAN_JOB, site.key("job"))
    await site.resources.delete(WORKER_POOL, site.key(POOL))
    await poll(lambda: not Path(f"/proc/{pid}").exists())
