"""Where a slot's runner comes from, and how it is brought to its end.

Two sources: child processes of the agent (here), and processes of another container that a runner host starts
(remote_runners). The pressure: what a slot says to its runner is the same in both, but only the process above a
runner can reap it and kill what fled from it. What must stay true: when `end` returns, the runner and all below it
are dead and its scratch folder is gone; nothing but our own descendants is ever signalled.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import structlog

from . import descendants
from .messages import Frames
from .scratch import remove_scratch
from .variables import wrap_variables

log = structlog.get_logger(__name__)

RUNNER = (sys.executable, "-P", "-m", "mahavishnu_operator.worker.runner")


class Runner(Protocol):
    """A live runner: the two ends of its pipes."""

    @property
    def answers(self) -> Frames:
        """What it says."""
        ...

    @property
    def requests(self) -> asyncio.StreamWriter:
        """What it is told."""
        ...

    @property
    def has_ended(self) -> bool:
        """It is known to be dead."""
        ...


class RunnerSource(Protocol):
    """Starts and ends runners. `scratch`: the folder, where runners are, below which tasks have theirs."""

    @property
    def scratch(self) -> Path:
        """A folder of this agent alone."""
        ...

    @property
    def lost(self) -> asyncio.Event:
        """Set when there will be no more runners, and those that were are dead."""
        ...

    async def start(self) -> Runner:
        """A new runner. OSError when there can be none."""
        ...

    async def end(self, runner: Runner, *, scratch: Path | None = None) -> int:
        """Kill it and all below it, and remove that folder; its exit code, negative for a signal."""
        ...


@dataclass(eq=False)
class ChildRunner:
    """A runner that is a child of this process."""

    process: asyncio.subprocess.Process
    answers: Frames
    requests: asyncio.StreamWriter

    @property
    def has_ended(self) -> bool:
        """Reaped or not."""
        return descendants.has_ended(self.process.pid)


@dataclass
class ChildRunners:
    """Runners that are children of this process. Descendants below their pids belong to running tasks.

    `changing` is held while a runner is started, which has no pid yet, and while orphans are killed.
    """

    scratch: Path
    shared: Sequence[str] = ()  # folders that are closed to tools, but for their own in them
    variables: Mapping[str, str] = field(default_factory=dict)  # for tools, from the owner of the pool
    pids: set[int] = field(default_factory=set)
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    lost: asyncio.Event = field(default_factory=asyncio.Event)  # never: they end with this process

    async def start(self) -> ChildRunner:
        """Start a process."""
        ours, theirs = os.pipe()
        try:
            process = await self.spawn(stdin=asyncio.subprocess.PIPE, stdout=theirs)
            if process.stdin is None:
                raise OSError("the runner was started without a pipe")
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        return ChildRunner(process, Frames(ours), process.stdin)

    async def end(self, runner: Runner, *, scratch: Path | None = None) -> int:
        """Kill the process and all below it."""
        if not isinstance(runner, ChildRunner):
            raise TypeError(f"{runner!r} was not started here")
        runner.answers.close()
        return await self.kill(runner.process, scratch=scratch)

    async def spawn(self, *, stdin: int, stdout: int) -> asyncio.subprocess.Process:
        """A runner process on these descriptors. OSError."""
        async with self.changing:
            process = await asyncio.create_subprocess_exec(
                *RUNNER, *self.shared, stdin=stdin, stdout=stdout, env=runner_environment(self.variables)
            )
            self.pids.add(process.pid)
        return process

    async def kill(self, process: asyncio.subprocess.Process, *, scratch: Path | None) -> int:
        """Kill a runner process and reap it, then what it left; its exit code."""
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        code = await process.wait()
        async with self.changing:
            self.pids.discard(process.pid)
            try:
                await asyncio.to_thread(descendants.end_all, spare=tuple(self.pids))
            except descendants.Stuck as error:
                log.error("a process of a task cannot be ended", runner=process.pid, error=str(error))
        if scratch is not None and not await asyncio.to_thread(remove_scratch, scratch):
            log.warning("a scratch folder could not be removed", folder=str(scratch))
        return code


def runner_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """PATH and what is for tools: what the runner does not have no tool can take from it."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", **wrap_variables(variables)}
