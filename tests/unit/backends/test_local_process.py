"""The local-process backend with real child processes; the children are a few lines of Python each."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from mahavishnu_operator.backends.local_files import LOG_LIMIT_BYTES, WorkerFiles, reap_previous
from mahavishnu_operator.backends.local_process import LocalProcessBackend
from mahavishnu_operator.backends.protocol import BackendError, PoolTemplate, WorkerPhase
from mahavishnu_operator.resources.protocol import Key

POOL = Key("default", "p")

# reads its configuration, says that it is ready, ends with its parent: as the agent does
OBEDIENT = """
import sys, threading, signal, json, os
config = json.loads(sys.stdin.readline())
open(os.path.join(config["workDir"], "ready"), "w").write(json.dumps(config))
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
sys.stdin.read()
os._exit(5)
"""
STUBBORN = """
import sys, json, os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
config = json.loads(sys.stdin.readline())
open(os.path.join(config["workDir"], "ready"), "w").write("{}")
time.sleep(600)
"""
DYING = "import sys; sys.stdin.readline(); print('the disk is on fire', file=sys.stderr); sys.exit(3)"


class Exits:
    """The ends that the backend reported."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[Key, str, str]] = asyncio.Queue()

    async def __call__(self, pool: Key, worker: str, message: str) -> None:
        self.queue.put_nowait((pool, worker, message))

    async def next(self) -> tuple[Key, str, str]:
        async with asyncio.timeout(10):
            return await self.queue.get()


async def token(pool: str, worker: str) -> str:
    return f"secret of {pool} {worker}"


def template(grace: int = 60) -> PoolTemplate:
    return PoolTemplate(POOL, "uid", slots=2, revision="r1", spec={"drain": {"graceSeconds": grace}})


@asynccontextmanager
async def backend(
    folder: Path, script: str, shutdown_seconds: float = 10.0
) -> AsyncIterator[tuple[LocalProcessBackend, Exits]]:
    exits = Exits()
    made = LocalProcessBackend(
        folder,
        server="http://127.0.0.1:1",
        issue_token=token,
        on_exit=exits,
        command=(sys.executable, "-S", "-c", script),
        shutdown_seconds=shutdown_seconds,
    )
    await made.open()
    try:
        yield made, exits
    finally:
        await made.close()


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for the file system or the process table, which cannot be waited on, with a deadline."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 -- nothing to await
            await asyncio.sleep(0.01)
    assert condition(), what


def pid_of(folder: Path, worker: str) -> int:
    return int(json.loads(WorkerFiles.of(folder, POOL, worker).pid.read_text())["pid"])


async def ready(folder: Path, worker: str) -> dict[str, object]:
    path = WorkerFiles.of(folder, POOL, worker).work / "ready"
    await until(lambda: path.exists() and path.read_text() != "", f"{worker} is ready")
    answer: dict[str, object] = json.loads(path.read_text())
    return answer


async def test_a_worker_is_configured_through_its_pipe_alone(tmp_path: Path) -> None:
    async with backend(tmp_path, OBEDIENT) as (workers, _):
        await workers.start(template(), "w1")
        config = await ready(tmp_path, "w1")
        pid = pid_of(tmp_path, "w1")
        words = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
    assert config["token"] == "secret of default/p w1"
    assert (config["pool"], config["worker"], config["slots"], config["graceSeconds"]) == ("default/p", "w1", 2, 60.0)
    assert b"secret" not in words


async def test_the_environment_of_the_parent_stays_with_the_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "abc")
    async with backend(tmp_path, OBEDIENT) as (workers, _):
        await workers.start(template(), "w1")
        await ready(tmp_path, "w1")
        assert b"AWS_SECRET" not in Path(f"/proc/{pid_of(tmp_path, 'w1')}/environ").read_bytes()


async def test_a_running_worker_is_observed_with_its_revision(tmp_path: Path) -> None:
    async with backend(tmp_path, OBEDIENT) as (workers, _):
        await workers.start(template(), "w1")
        (seen,) = await workers.observe(POOL)
        assert (seen.name, seen.phase, seen.revision) == ("w1", WorkerPhase.RUNNING, "r1")
        assert await workers.observe(Key("default", "other")) == []


async def test_starting_a_worker_that_is_there_changes_nothing(tmp_path: Path) -> None:
    async with backend(tmp_path, OBEDIENT) as (workers, _):
        await workers.start(template(), "w1")
        pid = pid_of(tmp_path, "w1")
        await workers.start(template(), "w1")
        assert pid_of(tmp_path, "w1") == pid


async def test_a_worker_that_ends_by_itself_is_failed_with_its_last_words_until_it_is_removed(tmp_path: Path) -> None:
    async with backend(tmp_path, DYING) as (workers, exits):
        await workers.start(template(), "w1")
        assert await exits.next() == (POOL, "w1", "ended with exit code 3: the disk is on fire")
        (seen,) = await workers.observe(POOL)
        assert (seen.phase, seen.message) == (WorkerPhase.FAILED, "ended with exit code 3: the disk is on fire")
        assert seen.ended_at is not None
        await workers.remove(POOL, "w1")
        assert await workers.observe(POOL) == []
        assert not WorkerFiles.of(tmp_path, POOL, "w1").folder.exists()


async def test_a_worker_killed_from_outside_is_failed(tmp_path: Path) -> None:
    async with backend(tmp_path, OBEDIENT) as (workers, exits):
        await workers.start(template(), "w1")
        await ready(tmp_path, "w1")
        os.kill(pid_of(tmp_path, "w1"), signal.SIGKILL)
        assert (await exits.next())[2] == "ended by signal 9"


async def test_a_stopped_worker_goes_without_a_failure(tmp_path: Path) -> None:
    async with backend(tmp_path, OBEDIENT) as (workers, exits):
        await workers.start(template(), "w1")
        await ready(tmp_path, "w1")
        await workers.stop(POOL, "w1", grace_seconds=60)
        assert (await workers.observe(POOL))[0].phase is WorkerPhase.STOPPING
        await exits.next()
        assert await workers.observe(POOL) == []


async def test_a_worker_that_ignores_the_signal_is_killed_after_its_grace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mahavishnu_operator.backends.local_process.KILL_MARGIN_SECONDS", 0.1)
    async with backend(tmp_path, STUBBORN) as (workers, exits):
        await workers.start(template(), "w1")
        await ready(tmp_path, "w1")
        await workers.stop(POOL, "w1", grace_seconds=600)
        await workers.stop(POOL, "w1", grace_seconds=0)
        assert (await exits.next())[2] == "ended by signal 9"


async def test_closing_leaves_no_process(tmp_path: Path) -> None:
    async with backend(tmp_path, STUBBORN, shutdown_seconds=0.1) as (workers, _):
        await workers.start(template(0), "w1")
        await ready(tmp_path, "w1")
        pid = pid_of(tmp_path, "w1")
    assert not psutil.pid_exists(pid)


async def test_a_closed_backend_starts_nothing(tmp_path: Path) -> None:
    async with backend(tmp_path, OBEDIENT) as (workers, _):
        await workers.close()
        with pytest.raises(BackendError, match="stopping"):
            await workers.start(template(), "w1")


async def test_a_program_that_is_not_there_is_an_error_in_words(tmp_path: Path) -> None:
    made = LocalProcessBackend(tmp_path, server="", issue_token=token, on_exit=Exits(), command=("/no/such/program",))
    with pytest.raises(BackendError, match="worker w1 of pool default/p could not be started"):
        await made.start(template(), "w1")
    assert await made.observe(POOL) == []
    await made.close()


def orphan(folder: Path, worker: str) -> subprocess.Popen[bytes]:
    """A process that an earlier parent wrote down and that did not notice its death."""
    child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    files = WorkerFiles.of(folder, POOL, worker)
    files.make()
    files.write_pid(child.pid)
    return child


async def test_a_worker_that_survived_its_parent_is_killed_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mahavishnu_operator.backends.local_files.LEAVE_SECONDS", 0.1)
    child = orphan(tmp_path, "w1")
    assert await reap_previous(tmp_path) == [(POOL, "w1")]
    assert not psutil.pid_exists(child.pid)
    child.wait()
    assert await reap_previous(tmp_path) == []


async def test_a_worker_is_known_again_after_a_step_of_the_wall_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mahavishnu_operator.backends.local_files.LEAVE_SECONDS", 0.1)
    child = orphan(tmp_path, "w1")
    right = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: right + 3600)  # the kernel's own figure moves along
    await reap_previous(tmp_path)
    assert not psutil.pid_exists(child.pid)
    child.wait()


async def test_a_process_that_got_the_pid_later_is_left_alone(tmp_path: Path) -> None:
    child = orphan(tmp_path, "w1")
    before = WorkerFiles.of(tmp_path, POOL, "w0")
    before.make()
    before.write_pid(os.getpid())
    written = json.loads(before.pid.read_text())
    WorkerFiles.of(tmp_path, POOL, "w1").pid.write_text(json.dumps(written | {"pid": child.pid}))
    before.pid.unlink()
    try:
        assert await reap_previous(tmp_path) == [(POOL, "w0"), (POOL, "w1")]
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("name", ["../up", "..", "", "a/b"])
def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError):
        WorkerFiles.of(tmp_path, POOL, name)


def test_a_log_is_bounded_while_it_is_written(tmp_path: Path) -> None:
    files = WorkerFiles.of(tmp_path, POOL, "w1")
    files.make()
    with files.open_log() as log:
        log.write(b"x" * (LOG_LIMIT_BYTES + 10))
        files.trim_log()
        log.write(b"the end")
    assert files.log.stat().st_size < LOG_LIMIT_BYTES
    assert files.last_words().endswith("the end")


async def test_the_files_of_a_worker_are_removed_while_the_loop_turns(tmp_path: Path) -> None:
    turned = False

    def turn() -> None:
        nonlocal turned
        turned = True

    async with backend(tmp_path, DYING) as (workers, exits):
        await workers.start(template(), "w1")
        await exits.next()
        asyncio.get_running_loop().call_soon(turn)
        await workers.remove(POOL, "w1")
        assert turned
        assert not WorkerFiles.of(tmp_path, POOL, "w1").folder.exists()
