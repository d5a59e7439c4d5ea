"""Leases with deadlines, and the decision what becomes of an attempt that ended without an answer.

The pressure: a worker can die, hang or be cut off at any moment, and its task must run again, but neither
for ever nor at once on a cluster that is just falling over. What must stay true: a task has at most one
lease; deadlines are moments of this process's monotonic clock and never leave it; only failures of the
tool itself are charged to maxAttempts, so that a flaky node does not use up a job's tries.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from mahavishnu_operator.api.reasons import FailureClass
from mahavishnu_operator.store.records import TaskKey

MAX_LOST = 5  # attempts of one task that may end by worker-lost or disrupted, together
MAX_BACKOFF_SECONDS = 60.0
FIRST_BACKOFF_SECONDS = {
    FailureClass.TOOL: 1.0,
    FailureClass.WORKER_LOST: 0.5,
    FailureClass.DISRUPTED: 0.0,  # the worker had to go, on purpose: nothing speaks against the next one
    FailureClass.UNSTARTED: 0.0,  # nothing happened
}


@dataclass(frozen=True, slots=True)
class Requeue:
    """Try again, not earlier than that many seconds from now."""

    after_seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The task fails; `reason` is a CamelCase word, `message` says how often what happened."""

    reason: str
    message: str


def decide_retry(failure: FailureClass, *, charged: int, lost: int, max_attempts: int) -> Requeue | GiveUp:
    """What follows after an attempt ended without an answer that counts.

    `charged` and `lost` count earlier attempts of the task, this one not included. The wait doubles with each
    attempt of the same count: a tool's failures wait 1, 2, 4 ... 60 s, lost workers 0.5, 1, 2, 4 s, and a lease that
    was handed back waits not at all.
    """
    if failure is FailureClass.UNSTARTED:
        return Requeue(0.0)
    if failure is FailureClass.TOOL:
        if charged + 1 >= max_attempts:
            return GiveUp("AttemptsExhausted", f"failed in {charged + 1} of {max_attempts} allowed attempts")
        return Requeue(backoff_seconds(failure, charged))
    if lost + 1 >= MAX_LOST:
        return GiveUp("WorkerLost", f"its worker was lost or stopped {lost + 1} times while it ran")
    return Requeue(backoff_seconds(failure, lost))


def backoff_seconds(failure: FailureClass, earlier: int) -> float:
    """How long a task waits after a failure of that class that `earlier` ones went before."""
    return min(FIRST_BACKOFF_SECONDS[failure] * 2.0 ** min(earlier, 16), MAX_BACKOFF_SECONDS)


@dataclass(slots=True, eq=False)
class Lease:
    """A task held by a worker (`namespace/pool/name`) until `deadline`.

    `settling` is set while its end is being written: then nothing else may end it, and who wants to know
    waits for that future.
    """

    key: TaskKey
    attempt: int
    worker: str
    deadline: float
    seconds: float  # how long a renewal lasts
    granted_at: float = 0.0
    output_bytes: int = 0
    settling: asyncio.Future[None] | None = field(default=None, repr=False)


class LeaseTable:
    """Leases by task and by worker, with their deadlines in a lazily repaired heap."""

    def __init__(self) -> None:
        self._by_key: dict[TaskKey, Lease] = {}
        self._by_worker: dict[str, dict[TaskKey, Lease]] = {}
        self._deadlines: list[tuple[float, int, Lease]] = []
        self._ticks = itertools.count()

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[TaskKey]:
        return iter(self._by_key)

    def add(self, lease: Lease) -> None:
        """Hold a task. ValueError when somebody holds it."""
        if lease.key in self._by_key:
            raise ValueError(f"{lease.key} is leased already to {self._by_key[lease.key].worker}")
        self._by_key[lease.key] = lease
        self._by_worker.setdefault(lease.worker, {})[lease.key] = lease
        heappush(self._deadlines, (lease.deadline, next(self._ticks), lease))

    def get(self, key: TaskKey) -> Lease | None:
        """Who holds a task."""
        return self._by_key.get(key)

    def held(self, key: TaskKey, attempt: int, *, worker: str) -> Lease | None:
        """The lease of that very attempt by that worker, or None."""
        lease = self._by_key.get(key)
        return lease if lease is not None and lease.attempt == attempt and lease.worker == worker else None

    def remove(self, lease: Lease) -> None:
        """Hold it no more; one that is gone already is no error."""
        if self._by_key.get(lease.key) is not lease:
            return
        del self._by_key[lease.key]
        of_worker = self._by_worker[lease.worker]
        del of_worker[lease.key]
        if not of_worker:
            del self._by_worker[lease.worker]

    def of_worker(self, worker: str) -> list[Lease]:
        """All that a worker holds."""
        return list(self._by_worker.get(worker, {}).values())

    def oldest_of(self, worker: str) -> Lease | None:
        """What a worker has held longest."""
        return next(iter(self._by_worker.get(worker, {}).values()), None)

    def count_of(self, worker: str) -> int:
        """How many a worker holds."""
        return len(self._by_worker.get(worker, ()))

    def of_job(self, tasks: Iterable[TaskKey]) -> list[Lease]:
        """Those of the tasks that are held."""
        return [lease for key in tasks if (lease := self._by_key.get(key)) is not None]

    def next_deadline(self) -> float | None:
        """The earliest deadline that may have to be acted on; it may have been renewed since."""
        while self._deadlines and self._by_key.get(self._deadlines[0][2].key) is not self._deadlines[0][2]:
            heappop(self._deadlines)  # it ended
        return self._deadlines[0][0] if self._deadlines else None

    def expired(self, now: float) -> list[Lease]:
        """Leases past their deadline whose end is not being written. They stay until removed."""
        found: list[Lease] = []
        again: list[Lease] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, lease = heappop(self._deadlines)
            if self._by_key.get(lease.key) is not lease:
                continue
            if lease.deadline > now:  # renewed since it was put here
                heappush(self._deadlines, (lease.deadline, next(self._ticks), lease))
                continue
            again.append(lease)
            if lease.settling is None:
                found.append(lease)
        for lease in again:  # seen again if its end could not be written
            heappush(self._deadlines, (now + 1.0, next(self._ticks), lease))
        return found

    def postpone(self, seconds: float) -> None:
        """Move every deadline: this process did not run for that long, so nobody could renew."""
        for lease in self._by_key.values():
            lease.deadline += seconds
        self._deadlines = [(lease.deadline, next(self._ticks), lease) for lease in self._by_key.values()]
        heapify(self._deadlines)
