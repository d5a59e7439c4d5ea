"""What came of ScanJobs, read by whoever runs in the engine's own process.

What must stay true: it answers what the dispatcher answers over HTTP to whoever may write the ScanJob, and asks for no
key: only what already has all the engine's objects is given it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mahavishnu_operator.api.answers import TaskAnswer, TaskRow
from mahavishnu_operator.dispatch.protocol import Dispatch
from mahavishnu_operator.dispatch.reading import MAX_LIMIT, read_output, read_report, task_answer, task_rows
from mahavishnu_operator.resources.protocol import Key, Obj
from mahavishnu_operator.scan.answers import Answers
from mahavishnu_operator.store.protocol import Store
from mahavishnu_operator.store.records import TaskKey
from mahavishnu_operator.support.errors import NotFound

from .aggregation import Aggregator


class ResultsHere:
    """The client's way to results, without a way: see client.results.Results."""

    def __init__(self, dispatch: Dispatch, store: Store, aggregator: Aggregator) -> None:
        self._dispatch, self._store, self._aggregator = dispatch, store, aggregator

    def marks(self, job: Key) -> Mapping[str, str]:
        """None are needed."""
        return {}

    async def tasks(self, job: Obj) -> Sequence[TaskRow]:
        """All tasks that were planned, in order."""
        return await task_rows(self._dispatch, self._store, _uid(job))

    async def task(self, job: Obj, task: str) -> TaskAnswer:
        """One task and the ends of what it wrote."""
        return await task_answer(self._store, TaskKey(_uid(job), task))

    async def output(self, job: Obj, task: str, *, stream: str, offset: int, limit: int) -> bytes:
        """A page of what a task wrote."""
        key = TaskKey(_uid(job), task)
        return await read_output(
            self._dispatch, self._store, key, stream=stream, offset=offset, limit=min(limit, MAX_LIMIT)
        )

    async def answers(self, job: Obj) -> Answers:
        """What the tools of a scan said."""
        found = await self._aggregator.report(_uid(job))
        if found is None:
            raise NotFound("there is no report of this ScanJob", hint="it is written when the job has ended")
        return Answers(found.reports, found.plan)

    async def sarif(self, job: Obj) -> bytes:
        """The report as stored."""
        return (await read_report(self._store, _uid(job)))[0]


def _uid(job: Obj) -> str:
    return str(job["metadata"]["uid"])
