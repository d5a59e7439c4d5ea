"""A dispatcher alone, as a process that may be struck: the store, the queue and the service, and one job in it.

Usage: python -m tests.chaos.dispatcher FILE, where FILE holds a Setup as JSON. It makes the job and the workers' tokens
if they are not there yet, and serves until SIGTERM, after which it writes what its memory holds. It ends by itself,
with exit code 1, when it cannot know any more what its store holds, or was replaced: a deployment starts it again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct

from mahavishnu_operator.api.wire import CommandTask
from mahavishnu_operator.dispatch.core import Pace
from mahavishnu_operator.dispatch.dispatcher import Dispatcher
from mahavishnu_operator.dispatch.server import DispatchServer
from mahavishnu_operator.store.opening import open_store
from mahavishnu_operator.store.records import JobRecord, TaskKey, TaskRecord
from mahavishnu_operator.support.errors import MahavishnuError
from mahavishnu_operator.support.logs import configure_logging

POOL = "default/pool"
JOB = "job-1"
log = structlog.get_logger(__name__)


class Setup(Struct, frozen=True):
    """What to serve. `store_url` empty: SQLite in `folder`. `tasks`: argv by name."""

    folder: str
    port: int
    lease_seconds: float
    max_attempts: int
    tasks: dict[str, list[str]]
    workers: tuple[str, ...]
    store_url: str = ""


class Memory(Struct, frozen=True):
    """What a dispatcher still holds at its end."""

    leases: int
    queued: int
    running: int


async def main(setup: Setup) -> int:
    configure_logging(level="info", json=True)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    folder = Path(setup.folder)
    try:
        store = await open_store(folder / "store", url=setup.store_url)
    except MahavishnuError as error:
        log.error("cannot start", error=str(error))
        return 1
    pace = Pace(lease_seconds=setup.lease_seconds, renew_seconds=setup.lease_seconds / 3)
    try:
        async with Dispatcher(store, holder=str(os.getpid()), pace=pace) as dispatcher:
            await prepare(dispatcher, setup, folder / "tokens.json")
            async with DispatchServer(dispatcher, port=setup.port):
                serving = asyncio.create_task(dispatcher.run())
                waiting = asyncio.create_task(stopping.wait())
                await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
                load = dispatcher.load(POOL)
                memory = Memory(len(dispatcher.core.leases), load.queued, load.running)
                waiting.cancel()
                if serving.done():
                    await serving
        (folder / "memory.json").write_bytes(msgspec.json.encode(memory))
    except MahavishnuError as error:
        log.error("cannot go on", error=str(error))
        return 1
    finally:
        await store.close()
    return 0


async def prepare(dispatcher: Dispatcher, setup: Setup, tokens: Path) -> None:
    """The job and the tokens, however often this process was killed in the middle of making them."""
    rows = [
        TaskRecord(TaskKey(JOB, name), number, msgspec.json.encode(CommandTask(argv=tuple(argv), allowed=("any",))))
        for number, (name, argv) in enumerate(setup.tasks.items())
    ]
    await dispatcher.submit(JobRecord(JOB, "default", JOB, POOL, max_attempts=setup.max_attempts), rows)
    if not tokens.exists():
        issued = {worker: await dispatcher.issue_token(pool=POOL, worker=worker) for worker in setup.workers}
        new = tokens.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(issued))
        new.replace(tokens)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Setup))))
