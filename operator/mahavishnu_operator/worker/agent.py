"""The agent's process: what it is to the kernel, its scratch space, and its death with its parent.

What must stay true: when stdin closes the parent is dead, and nothing of this worker outlives it; an agent that was
killed leaves no process (its runners see their pipes close), and the next one on the same folder removes its files.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from mahavishnu_operator.support.errors import InvalidInput
from mahavishnu_operator.support.logs import configure_logging

from . import descendants
from .config import WorkerConfig
from .leasing import Agent
from .surroundings import remove_scratch

log = structlog.get_logger(__name__)


def run_agent(config: WorkerConfig, *, parent_pipe: bool = False) -> int:
    """Run one agent in this process to its end; the exit code. `parent_pipe`: stdin's end is the parent's death.

    0: left in peace. 1: the dispatcher refused a call. 3: it speaks another protocol. 4: the token is wrong.
    InvalidInput when the work folder cannot be used.
    """
    configure_logging(level=config.log_level)
    descendants.become_subreaper()
    descendants.hide_memory()
    with _scratch_space(Path(config.work_dir)) as scratch:
        return asyncio.run(_run(config, scratch, parent_pipe=parent_pipe))


@contextmanager
def _scratch_space(work_dir: Path) -> Iterator[Path]:
    """A folder of this process below `work_dir`, removed at the end; those of dead agents go first."""
    base = work_dir / "scratch"
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in base.iterdir():
            if left.name.isdecimal() and not Path(f"/proc/{left.name}").exists():
                remove_scratch(left)
        own = base / str(os.getpid())
        remove_scratch(own)  # of a dead agent that had our number
        own.mkdir(mode=0o700)
    except OSError as error:
        raise InvalidInput(
            f"the work folder {work_dir} cannot be used: {error.strerror}",
            hint="give the worker a folder that it may write to",
        ) from error
    try:
        yield own
    finally:
        if not remove_scratch(own):
            log.warning("the scratch folder could not be removed", folder=str(own))


async def _run(config: WorkerConfig, scratch: Path, *, parent_pipe: bool) -> int:
    watching = asyncio.create_task(_die_with_parent(scratch)) if parent_pipe else None
    try:
        return await Agent(config, scratch=scratch).run()
    finally:
        if watching is not None:
            watching.cancel()


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
