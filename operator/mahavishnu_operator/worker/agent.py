"""The agent's process: what it is to the kernel, its scratch space, and its death with its parent.

What must stay true: when stdin closes the parent is dead, and nothing of this worker outlives it; an agent that was
killed leaves no process (its runners see their pipes close), and the next one on the same folder removes its files.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import structlog

from mahavishnu_operator.support.logs import configure_logging

from . import descendants
from .config import WorkerConfig
from .leasing import Agent
from .remote_runners import RemoteRunners
from .runners import ChildRunners
from .scratch import remove_scratch
from .scratch_space import scratch_space
from .stops import on_stops, run_to_its_end

log = structlog.get_logger(__name__)

RUNNER_HOST_LOST = 5


def run_agent(config: WorkerConfig, *, parent_pipe: bool = False) -> int:
    """Run one agent in this process to its end; the exit code. `parent_pipe`: stdin's end is the parent's death.

    0: left in peace. 1: the dispatcher refused a call. 3: it speaks another protocol. 4: the token is wrong. 5: its
    runner host has gone. InvalidInput when the work folder or the runner host's socket cannot be used.
    """
    configure_logging(level=config.log_level)
    descendants.become_subreaper()
    descendants.hide_memory()
    if config.runner_socket:
        return run_to_its_end(_run_with_host(config))
    with scratch_space(Path(config.work_dir)) as scratch:
        return run_to_its_end(_run(config, scratch, parent_pipe=parent_pipe))


async def _run(config: WorkerConfig, scratch: Path, *, parent_pipe: bool) -> int:
    watching = asyncio.create_task(_die_with_parent(scratch)) if parent_pipe else None
    try:
        return await Agent(config, runners=ChildRunners(scratch)).run()
    finally:
        if watching is not None:
            watching.cancel()


async def _run_with_host(config: WorkerConfig) -> int:
    """Wait for the runner host, then work until it goes: a worker without it is no capacity."""
    waiting = asyncio.current_task()
    if waiting is not None:
        on_stops(waiting.cancel)
    try:
        runners = await RemoteRunners.accept(Path(config.runner_socket))
    except asyncio.CancelledError:
        return 0  # told to stop before there was anything to do
    agent = Agent(config, runners=runners)
    leaving = asyncio.create_task(_leave_with_host(agent, runners))
    try:
        code = await agent.run()
        return RUNNER_HOST_LOST if runners.lost.is_set() else code
    finally:
        leaving.cancel()
        await runners.close()


async def _leave_with_host(agent: Agent, runners: RemoteRunners) -> None:
    await runners.lost.wait()
    log.error("the runner host has gone, and this worker with it: look at the other container of this Pod")
    await agent.leave_without_runners()


async def _die_with_parent(scratch: Path) -> None:
    """End everything, at once, when stdin closes."""
    pulse = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(pulse), sys.stdin.buffer)
    while await pulse.read(4096):
        continue
    try:
        descendants.end_all()
        remove_scratch(scratch)
    finally:
        os._exit(1)
