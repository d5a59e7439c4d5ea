"""What came of ScanJobs, by whichever way it is read.

The pressure: most who read come from elsewhere and show a key for each ScanJob; whoever runs in the engine's own
process would call itself over HTTP, by a key that it writes on its own objects. What must stay true: both ways answer
the same; what has a way around keys is given to nobody whose rights are less than the engine's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from mahavishnu_operator.api.answers import TaskAnswer, TaskRow
from mahavishnu_operator.resources.protocol import SCAN_JOB, Forbidden, Key, Obj, Resources
from mahavishnu_operator.scan.answers import Answers

from .door import Door, Doors

TRIES = 3  # another reader may write a key of their own between our two calls
T = TypeVar("T")


class Results(Protocol):
    """Reads what came of ScanJobs, given as they are stored. NotFound: there is none of it."""

    def marks(self, job: Key) -> Mapping[str, str]:
        """The annotations that a ScanJob is made with, so that it can be read."""
        ...

    async def tasks(self, job: Obj) -> Sequence[TaskRow]:
        """All tasks that were planned, in order."""
        ...

    async def task(self, job: Obj, task: str) -> TaskAnswer:
        """One task and the ends of what it wrote."""
        ...

    async def output(self, job: Obj, task: str, *, stream: str, offset: int, limit: int) -> bytes:
        """A page of what a task wrote."""
        ...

    async def answers(self, job: Obj) -> Answers:
        """What the tools of a scan said."""
        ...

    async def sarif(self, job: Obj) -> bytes:
        """The report as stored."""
        ...


class ResultsByKey:
    """From the dispatcher over HTTP, as whoever may write the ScanJob: by a key whose digest stands on it."""

    def __init__(self, resources: Resources, doors: Doors) -> None:
        self._resources, self._doors = resources, doors

    def marks(self, job: Key) -> Mapping[str, str]:
        """The digest of the key."""
        return self._doors.key_of(job).annotation

    async def tasks(self, job: Obj) -> Sequence[TaskRow]:
        """All tasks that were planned, in order."""
        return await self._read(job, lambda door, key: door.tasks(key))

    async def task(self, job: Obj, task: str) -> TaskAnswer:
        """One task and the ends of what it wrote."""
        return await self._read(job, lambda door, key: door.task(key, task))

    async def output(self, job: Obj, task: str, *, stream: str, offset: int, limit: int) -> bytes:
        """A page of what a task wrote."""
        return await self._read(
            job, lambda door, key: door.output(key, task, stream=stream, offset=offset, limit=limit)
        )

    async def answers(self, job: Obj) -> Answers:
        """What the tools of a scan said."""
        return await self._read(job, lambda door, key: door.answers(key))

    async def sarif(self, job: Obj) -> bytes:
        """The report as stored."""
        return await self._read(job, lambda door, key: door.sarif(key))

    async def _read(self, job: Obj, call: Callable[[Door, Key], Awaitable[T]]) -> T:
        """What the dispatcher says; our key is written where the job was made by somebody else."""
        key = Key.of(job)
        door = self._doors.open(key, status=job.get("status") or {})
        for _ in range(TRIES):
            try:
                return await call(door, key)
            except Forbidden as error:
                if "opened by this key" not in error.message:
                    raise
            await self._resources.merge(SCAN_JOB, key, {"metadata": {"annotations": self.marks(key)}})
        return await call(door, key)
