"""A real store, dispatcher and agent processes on loopback."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from mahavishnu_operator.api.wire import TaskResult, TaskSpec
from mahavishnu_operator.dispatch.core import Pace
from mahavishnu_operator.dispatch.dispatcher import Dispatcher
from mahavishnu_operator.dispatch.protocol import JobProgress
from mahavishnu_operator.dispatch.server import DispatchServer
from mahavishnu_operator.store.records import JobRecord, TaskKey, TaskRecord
from mahavishnu_operator.store.sqlite import SqliteStore
from mahavishnu_operator.worker.config import HostConfig, WorkerConfig

POOL = "ns/pool"
DEADLINE_SECONDS = 30.0


AGENT = ("-m", "mahavishnu_operator.worker")


async def start_agent(
    server: str, name: str, *, token: str, folder: Path, grace: float = 10.0, program: Sequence[str] = AGENT
) -> asyncio.subprocess.Process:
    """A worker process; its stdin stays open as long as the process object lives. `program`: what Python runs."""
    config = {
        "server": server,
        "token": token,
        "pool": POOL,
        "worker": name,
        "workDir": str(folder),
        "graceSeconds": grace,
        "logLevel": "warning",
    }
    process = await asyncio.create_subprocess_exec(sys.executable, *program, stdin=asyncio.subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(json.dumps(config).encode() + b"\n")
    return process


class Bench:
    """The dispatcher under test, which can be stopped and started again on the same port and store."""

    def __init__(self, folder: Path, *, lease_seconds: float) -> None:
        self._folder, self._lease_seconds = folder, lease_seconds
        self._parts = AsyncExitStack()
        self._port = 0
        self._changed = asyncio.Event()
        self.agents: list[asyncio.subprocess.Process] = []

    async def start(self) -> None:
        store = SqliteStore(self._folder / "store")
        self._parts.push_async_callback(store.close)
        pace = Pace(lease_seconds=self._lease_seconds, renew_seconds=self._lease_seconds / 3)
        self.dispatch = await self._parts.enter_async_context(Dispatcher(store, holder="tests", pace=pace))
        self.dispatch.on_job_changed(lambda _: self._changed.set())
        self.dispatch.on_pool_changed(lambda _: self._changed.set())
        server = await self._parts.enter_async_context(DispatchServer(self.dispatch, port=self._port))
        self._port = server.port

    @property
    def port(self) -> int:
        """Where agents reach it."""
        return self._port

    async def stop(self) -> None:
        await self._parts.aclose()
        self._parts = AsyncExitStack()

    async def agent(
        self, name: str = "w1", *, token: str | None = None, grace: float = 10.0, program: Sequence[str] = AGENT
    ) -> asyncio.subprocess.Process:
        secret = token or await self.dispatch.issue_token(pool=POOL, worker=name)
        server = f"http://127.0.0.1:{self._port}"
        folder = self._folder / name
        process = await start_agent(server, name, token=secret, folder=folder, grace=grace, program=program)
        self.agents.append(process)
        return process

    async def agent_by_command(self, folder: Path) -> asyncio.subprocess.Process:
        """One as a person starts it: `mahavishnu worker`."""
        folder.mkdir()
        (folder / "token").write_text(await self.dispatch.issue_token(pool=POOL, worker="w1"))
        options = ("--pool", POOL, "--name", "w1", "--token-file", str(folder / "token"), "--work-dir", str(folder))
        return await self._program("worker", "--dispatcher", f"http://127.0.0.1:{self._port}", *options)

    async def toolless_agent(
        self, name: str = "w1", *, grace: float = 10.0, slots: int = 1, one_task: float = 0.0
    ) -> asyncio.subprocess.Process:
        """An agent that waits for a runner host at NAME/runner.sock."""
        folder = self._folder / name
        folder.mkdir()
        (folder / "token").write_text(await self.dispatch.issue_token(pool=POOL, worker=name))
        config = WorkerConfig(
            server=f"http://127.0.0.1:{self._port}",
            pool=POOL,
            worker=name,
            token_file=str(folder / "token"),
            runner_socket=str(folder / "runner.sock"),
            slots=slots,
            grace_seconds=grace,
            one_task_seconds=one_task,
        )
        return await self._program("pod-agent", msgspec.json.encode(config).decode())

    async def agent_with_host(
        self,
        name: str = "w1",
        *,
        grace: float = 10.0,
        confine: Sequence[Path] = (),
        slots: int = 1,
        one_task: float = 0.0,
    ) -> tuple[asyncio.subprocess.Process, asyncio.subprocess.Process]:
        """An agent, and the runner host that starts its tools, as in the two containers of a Pod."""
        agent = await self.toolless_agent(name, grace=grace, slots=slots, one_task=one_task)
        folder = self._folder / name
        shared = tuple(str(each) for each in (folder / "work", *confine) if confine)
        config = HostConfig(str(folder / "runner.sock"), work_dir=str(folder / "work"), confine=shared)
        return agent, await self._program("pod-runner", msgspec.json.encode(config).decode())

    async def _program(self, *arguments: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "mahavishnu_operator.cli", *arguments)
        self.agents.append(process)
        return process

    async def submit(self, *specs: TaskSpec, job: str = "u1") -> None:
        tasks = [
            TaskRecord(TaskKey(job, f"t{number}"), number, msgspec.json.encode(spec))
            for number, spec in enumerate(specs)
        ]
        await self.dispatch.submit(JobRecord(job, "ns", job, POOL, max_attempts=1), tasks)

    async def until(self, holds: Callable[[JobProgress], bool], job: str = "u1") -> JobProgress:
        """The job's progress once it fulfils this."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                self._changed.clear()
                progress = self.dispatch.progress(job)
                assert progress is not None
                if holds(progress):
                    return progress
                await self._changed.wait()

    async def results(self, job: str = "u1") -> Sequence[TaskResult]:
        """All results, once every task has ended."""
        await self.until(lambda progress: progress.done, job)
        return [result for _, result in await self.dispatch.results(job)]


@asynccontextmanager
async def running_bench(folder: Path, *, lease_seconds: float = 15.0) -> AsyncIterator[Bench]:
    bench = Bench(folder, lease_seconds=lease_seconds)
    await bench.start()
    try:
        yield bench
    finally:
        for process in bench.agents:
            if process.returncode is None:
                process.kill()
            await process.wait()
        await bench.stop()
