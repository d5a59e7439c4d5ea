"""Which task is leased next: the waiting tasks of one pool, as a pure data structure.

The rule, in this order:
1. priority: job priority + task priority, highest first;
2. fairness between jobs of one priority: the job with the fewest running tasks, then the one served
   least recently, then the one that came first;
3. within a job: task priority, then seq.

The pressure: ten thousand tasks of one job must neither starve the one-task job behind it nor make each
choice slow. So each job keeps a heap of its own, and a heap of jobs is repaired lazily: a job whose rank
changed is offered anew, and its older offers are skipped. A choice costs O(log n) amortised.
What must stay true: a task pushed is popped at most once; a paused job, a job at its parallelism and a
task before its `not_before` yield nothing. Times are seconds of one monotonic clock, handed in.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

SPARE_OFFERS = 64  # outdated offers tolerated beyond one a job before the heap is rebuilt


@dataclass(slots=True)
class _Job:
    uid: str
    priority: int
    parallelism: int
    order: int
    paused: bool
    running: int = 0
    served: int = 0
    version: int = 0
    generation: int = 0  # rises when its tasks are cleared, so that delayed ones are not revived
    ready: list[tuple[int, int, str]] = field(default_factory=list)  # (-task priority, seq, task)
    waiting: set[str] = field(default_factory=set)  # ready or delayed


@dataclass(frozen=True, slots=True)
class Taken:
    """A task that was popped: its job counts one more running until `finished`."""

    job: str
    task: str


class TaskQueue:
    """The waiting tasks of one pool. ValueError for a job that is not there or a task pushed twice."""

    def __init__(self) -> None:
        self._jobs: dict[str, _Job] = {}
        self._offers: list[tuple[int, int, int, int, int, _Job]] = []
        self._delayed: list[tuple[float, int, _Job, int, tuple[int, int, str]]] = []
        self._ticks = itertools.count(1)
        self._waiting = 0  # in jobs that are not paused

    def __len__(self) -> int:
        """Tasks that wait, delayed ones too, in jobs that are not paused."""
        return self._waiting

    def __contains__(self, uid: str) -> bool:
        return uid in self._jobs

    def add_job(self, uid: str, *, priority: int = 0, parallelism: int = 0, paused: bool = False) -> None:
        """Make a job known; parallelism 0 means no limit."""
        if uid in self._jobs:
            raise ValueError(f"job {uid} is in the queue already")
        self._jobs[uid] = _Job(uid, priority, parallelism, next(self._ticks), paused)

    def remove_job(self, uid: str) -> None:
        """Forget a job and its waiting tasks; unknown ones too."""
        if uid in self._jobs:
            self.clear(uid)
            self._jobs.pop(uid).version += 1

    def clear(self, uid: str) -> None:
        """Drop the waiting tasks of a job; what runs goes on counting."""
        job = self._job(uid)
        if not job.paused:
            self._waiting -= len(job.waiting)
        job.ready.clear()
        job.waiting.clear()
        job.generation += 1
        self._offer(job)

    def pause(self, uid: str, paused: bool) -> None:
        """Stop or resume handing out tasks of a job."""
        job = self._job(uid)
        if job.paused != paused:
            job.paused = paused
            self._waiting += -len(job.waiting) if paused else len(job.waiting)
            self._offer(job)

    def push(self, uid: str, task: str, *, seq: int, priority: int = 0, not_before: float | None = None) -> None:
        """Let a task wait; with `not_before` it is not handed out earlier than that moment."""
        job = self._job(uid)
        if task in job.waiting:
            raise ValueError(f"task {uid}/{task} waits already")
        job.waiting.add(task)
        if not job.paused:
            self._waiting += 1
        item = (-priority, seq, task)
        if not_before is not None:
            heappush(self._delayed, (not_before, next(self._ticks), job, job.generation, item))
            return
        heappush(job.ready, item)
        if job.ready[0] is item:  # a new head: its rank may have changed
            self._offer(job)

    def peek(self, now: float) -> str | None:
        """The job whose task `pop` would hand out, or None when nothing may be handed out now."""
        self._ripen(now)
        while self._offers:
            *_, version, job = self._offers[0]
            if version == job.version:
                return job.uid
            heappop(self._offers)
        return None

    def pop(self, now: float) -> Taken | None:
        """Take the next task; its job counts one more running."""
        uid = self.peek(now)
        if uid is None:
            return None
        job = self._jobs[uid]
        heappop(self._offers)
        _, _, task = heappop(job.ready)
        job.waiting.discard(task)
        self._waiting -= 1
        job.running += 1
        job.served = next(self._ticks)
        self._offer(job)
        return Taken(uid, task)

    def started(self, uid: str) -> None:
        """Count a task as running that was not popped here (leased before a restart)."""
        job = self._job(uid)
        job.running += 1
        self._offer(job)

    def finished(self, uid: str) -> None:
        """A task of the job runs no more, whatever became of it."""
        job = self._job(uid)
        if job.running == 0:
            raise ValueError(f"no task of job {uid} is running")
        job.running -= 1
        self._offer(job)

    def running(self, uid: str) -> int:
        """Running tasks of a job."""
        return self._job(uid).running

    def next_ripe(self) -> float | None:
        """When the first delayed task becomes ready; None when none is delayed."""
        while self._delayed and self._outdated(self._delayed[0][2], self._delayed[0][3]):
            heappop(self._delayed)
        return self._delayed[0][0] if self._delayed else None

    def _job(self, uid: str) -> _Job:
        try:
            return self._jobs[uid]
        except KeyError:
            raise ValueError(f"job {uid} is not in the queue") from None

    def _outdated(self, job: _Job, generation: int) -> bool:
        return job.generation != generation or self._jobs.get(job.uid) is not job

    def _ripen(self, now: float) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            _, _, job, generation, item = heappop(self._delayed)
            if not self._outdated(job, generation):
                heappush(job.ready, item)
                self._offer(job)

    def _offer(self, job: _Job) -> None:
        """Rank the job anew, or withdraw it when nothing of it may be handed out."""
        job.version += 1
        if job.paused or not job.ready or 0 < job.parallelism <= job.running:
            return
        heappush(self._offers, self._rank(job))
        if len(self._offers) > 2 * len(self._jobs) + SPARE_OFFERS:
            self._offers = [offer for offer in self._offers if offer[4] == offer[5].version]
            heapify(self._offers)

    @staticmethod
    def _rank(job: _Job) -> tuple[int, int, int, int, int, _Job]:
        return (job.ready[0][0] - job.priority, job.running, job.served, job.order, job.version, job)
