"""A dispatcher as a process of its own, on a PostgreSQL store: it can be stopped, and another can take over.

Usage: python -m tests.integration.store.dispatcher_process URL TASKS WORKERS. Prints one line of JSON, then works until
it is told to stop (SIGTERM) or was replaced: exit code 0 or 3.
"""

from __future__ import annotations

import asyncio
import json
import sys

import msgspec

from mahavishnu_operator.api.wire import CommandTask
from mahavishnu_operator.dispatch.core import Pace
from mahavishnu_operator.dispatch.dispatcher import Dispatcher
from mahavishnu_operator.dispatch.server import DispatchServer
from mahavishnu_operator.store.postgres import open_postgres
from mahavishnu_operator.store.protocol import StaleEpoch
from mahavishnu_operator.store.records import JobRecord, TaskKey, TaskRecord
from mahavishnu_operator.support.logs import configure_logging

POOL = "default/pool"
REPLACED = 3


async def main(url: str, tasks: int, workers: int) -> int:
    configure_logging(level="warning")  # to stderr: the test reads stdout
    store = await open_postgres(url)
    pace = Pace(lease_seconds=300.0, renew_seconds=100.0)
    async with Dispatcher(store, holder="the first", pace=pace) as dispatcher, DispatchServer(dispatcher) as server:
        spec = msgspec.json.encode(CommandTask(argv=("true",)))
        rows = [TaskRecord(TaskKey("job-1", f"t{number}"), number, spec) for number in range(tasks)]
        await dispatcher.submit(JobRecord("job-1", "default", "job-1", POOL), rows)
        tokens = [await dispatcher.issue_token(pool=POOL, worker=f"w{number}") for number in range(workers)]
        print(json.dumps({"url": server.url, "tokens": tokens}), flush=True)
        await dispatcher.core.ended.wait()
        await asyncio.to_thread(sys.stdin.read)  # until the test has read all answers
        failure = dispatcher.core.failure
    await store.close()
    return REPLACED if isinstance(failure, StaleEpoch) else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
