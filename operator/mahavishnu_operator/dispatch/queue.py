"""Which task is leased next: the waiting tasks of one pool, as a pure data structure.

The rule, in this order:
1. priority: job priority + task priority, highest first;
2. fairness between the namespaces that have work of that priority: the one with the fewest running tasks, then the
   one served least recently;
3. fairness between the jobs of a namespace: the same again;
4. within a job: task priority, then seq.

Who is new has been served just now: a stream of new jobs does not pass those that wait (docs/adr/0010).

The pressure: ten thousand tasks of one job, or a hundred jobs of one namespace, must neither starve the single task
beside them nor make each choice slow. So the jobs of a namespace are a heap that is repaired lazily: a job whose rank
changed is offered anew, and its older offers are skipped. Namespaces are compared one by one, because a pool serves
at most 65 of them. A choice costs O(log jobs + namespaces), amortised.
What must stay true: a task pushed is popped at most once; a paused job, a job at its parallelism and a task before
its `not_before` yield nothing; tasks of a job that is for one worker are popped for that worker alone. Times are
seconds of one monotonic clock, handed in.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

SPARE_OFFERS = 64  # outdated offers tolerated beyond one a job before a heap is rebuilt
ANYBODY = ""  # the worker of a job that any worker may serve


@dataclass(slots=True)
class _Share:
    """What a namespace has of the pool. `served`: the tick of its last turn, or of its arrival."""

    served: int
    running: int = 0
    jobs: int = 0


@dataclass(slots=True)
class _Line:
    """The jobs of one namespace that one worker, or anybody, may serve, as a heap of offers."""

    share: _Share
    jobs: set[str] = field(default_factory=set)
    offers: list[tuple[int, int, int, int, _Job]] = field(default_factory=list)

    def first(self) -> _Job | None:
        """The job whose turn it is, None when nothing may be handed out."""
        while self.offers:
            *_, version, job = self.offers[0]
            if version == job.version:
                return job
            heappop(self.offers)
        return None


@dataclass(slots=True)
class _Job:
    uid: str
    namespace: str
    worker: str
    priority: int
    parallelism: int
    paused: bool
    line: _Line
    served: int
    running: int = 0
    version: int = 0
    generation: int = 0  # rises when its tasks are cleared, so that delayed ones are not revived
    ready: list[tuple[int, int, str]] = field(default_factory=list)  # (-task priority, seq, task)
    waiting: set[str] = field(default_factory=set)  # ready or delayed
    counted: int = 0  # of its waiting tasks, in the backlog
    counted_startable: int = 0

    def rank(self) -> tuple[int, int, int, int, int]:
        """Its place among all jobs of the pool, smallest first."""
        share = self.line.share
        return (self.ready[0][0] - self.priority, share.running, share.served, self.running, self.served)


@dataclass(frozen=True, slots=True)
class Taken:
    """A task that was popped: its job counts one more running until `finished`."""

    job: str
    task: str


class TaskQueue:
    """The waiting tasks of one pool. ValueError for a job that is not there or a task pushed twice."""

    def __init__(self) -> None:
        self._jobs: dict[str, _Job] = {}
        self._shares: dict[str, _Share] = {}
        self._lanes: dict[str, dict[str, _Line]] = {}  # by worker, then by namespace
        self._delayed: list[tuple[float, int, _Job, int, tuple[int, int, str]]] = []
        self._ticks = itertools.count(1)
        self._waiting = 0  # in jobs that are not paused
        self._backlog = 0
        self._startable = 0

    def __len__(self) -> int:
        """Tasks that wait, delayed ones too, in jobs that are not paused."""
        return self._waiting

    @property
    def backlog(self) -> int:
        """Of those, the tasks that more workers could run at the same time as what runs now.

        Not those that one worker alone may have, nor those beyond the parallelism of their job.
        """
        return self._backlog

    @property
    def startable(self) -> int:
        """How many tasks anybody could be handed at once, as of the last `peek`: the sum of `ready`."""
        return self._startable

    @property
    def reserved(self) -> dict[str, int]:
        """How many tasks wait for one worker alone, by worker; those of paused jobs not counted."""
        if not self.reserves:
            return {}
        jobs = {worker: map(self._job, self.jobs_for(worker)) for worker in self._lanes if worker != ANYBODY}
        return {worker: sum(len(job.waiting) for job in own if not job.paused) for worker, own in jobs.items()}

    def __contains__(self, uid: str) -> bool:
        return uid in self._jobs

    def add_job(
        self,
        uid: str,
        *,
        namespace: str = "",
        worker: str = ANYBODY,
        priority: int = 0,
        parallelism: int = 0,
        paused: bool = False,
    ) -> None:
        """Make a job known; parallelism 0 means no limit, `worker` that only this one may serve it."""
        if uid in self._jobs:
            raise ValueError(f"job {uid} is in the queue already")
        share = self._shares.get(namespace)
        if share is None:
            share = self._shares[namespace] = _Share(next(self._ticks))
        line = self._lanes.setdefault(worker, {}).setdefault(namespace, _Line(share))
        share.jobs += 1
        line.jobs.add(uid)
        self._jobs[uid] = _Job(uid, namespace, worker, priority, parallelism, paused, line, next(self._ticks))

    def remove_job(self, uid: str) -> None:
        """Forget a job and its waiting tasks; unknown ones too."""
        if uid not in self._jobs:
            return
        self.clear(uid)
        job = self._jobs.pop(uid)
        job.version += 1
        line, share = job.line, job.line.share
        share.running -= job.running
        share.jobs -= 1
        line.jobs.discard(uid)
        if not line.jobs:
            del self._lanes[job.worker][job.namespace]
            if not self._lanes[job.worker]:
                del self._lanes[job.worker]
        if not share.jobs:
            del self._shares[job.namespace]

    def clear(self, uid: str) -> None:
        """Drop the waiting tasks of a job; what runs goes on counting."""
        job = self._job(uid)
        if not job.paused:
            self._waiting -= len(job.waiting)
        job.ready.clear()
        job.waiting.clear()
        job.generation += 1
        self._recount(job)
        self._offer(job)

    def pause(self, uid: str, paused: bool) -> None:
        """Stop or resume handing out tasks of a job."""
        job = self._job(uid)
        if job.paused != paused:
            job.paused = paused
            self._waiting += -len(job.waiting) if paused else len(job.waiting)
            self._recount(job)
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
            self._recount(job)
            return
        heappush(job.ready, item)
        self._recount(job)
        if job.ready[0] is item:  # a new head: its rank may have changed
            self._offer(job)

    def peek(self, now: float, worker: str = ANYBODY) -> str | None:
        """The job whose task `pop` would hand to this worker, or None when it may be handed nothing now."""
        self._ripen(now)
        found = [job for line in self._lines(worker) if (job := line.first()) is not None]
        if len(found) > 1:
            return min(found, key=_Job.rank).uid
        return found[0].uid if found else None

    def ready(self, now: float) -> dict[str, int]:
        """How many tasks of each job anybody could be handed at once."""
        self._ripen(now)
        found: dict[str, int] = {}
        for line in self._lanes.get(ANYBODY, {}).values():
            for uid in line.jobs:
                job = self._jobs[uid]
                room = job.parallelism - job.running if job.parallelism else len(job.ready)
                number = 0 if job.paused else min(len(job.ready), room)
                if number > 0:
                    found[uid] = number
        return found

    def first_of(self, uid: str) -> str:
        """The task that `pop` takes when it is the turn of this job. ValueError when none of it is ready."""
        job = self._job(uid)
        if not job.ready:
            raise ValueError(f"no task of job {uid} is ready")
        return job.ready[0][2]

    def pop(self, now: float, worker: str = ANYBODY) -> Taken | None:
        """Take the next task for this worker; its job and namespace count one more running."""
        uid = self.peek(now, worker)
        if uid is None:
            return None
        job = self._jobs[uid]
        heappop(job.line.offers)
        _, _, task = heappop(job.ready)
        job.waiting.discard(task)
        self._waiting -= 1
        job.running += 1
        job.line.share.running += 1
        self._recount(job)
        job.served = job.line.share.served = next(self._ticks)
        self._offer(job)
        return Taken(uid, task)

    def started(self, uid: str) -> None:
        """Count a task as running that was not popped here (leased before a restart)."""
        job = self._job(uid)
        job.running += 1
        job.line.share.running += 1
        self._recount(job)
        self._offer(job)

    def finished(self, uid: str) -> None:
        """A task of the job runs no more, whatever became of it."""
        job = self._job(uid)
        if job.running == 0:
            raise ValueError(f"no task of job {uid} is running")
        job.running -= 1
        job.line.share.running -= 1
        self._recount(job)
        self._offer(job)

    def running(self, uid: str) -> int:
        """Running tasks of a job."""
        return self._job(uid).running

    def jobs_for(self, worker: str) -> list[str]:
        """The jobs that this worker alone may serve."""
        return [uid for line in self._lanes.get(worker, {}).values() for uid in line.jobs] if worker else []

    def reserves_for(self, worker: str) -> bool:
        """Whether there is a job that this worker alone may serve."""
        return worker in self._lanes and worker != ANYBODY

    def has_own(self, worker: str) -> bool:
        """Whether there is a task that this worker alone may have and may be handed, as of the last `peek`."""
        lane = self._lanes.get(worker, {}) if worker else {}
        return any(line.first() is not None for line in lane.values())

    @property
    def reserves(self) -> bool:
        """Whether there is a job that one worker alone may serve."""
        return len(self._lanes) > (ANYBODY in self._lanes)

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

    def _recount(self, job: _Job) -> None:
        """Keep the counts in step with a job whose waiting, ready or running tasks changed."""
        counts = not job.paused and job.worker == ANYBODY
        useful, startable = (len(job.waiting), len(job.ready)) if counts else (0, 0)
        if job.parallelism > 0:
            room = max(0, job.parallelism - job.running)
            useful, startable = min(useful, room), min(startable, room)
        self._backlog += useful - job.counted
        self._startable += startable - job.counted_startable
        job.counted, job.counted_startable = useful, startable

    def _lines(self, worker: str) -> Iterator[_Line]:
        """What this worker may serve."""
        yield from self._lanes.get(ANYBODY, {}).values()
        if worker and worker in self._lanes:
            yield from self._lanes[worker].values()

    def _outdated(self, job: _Job, generation: int) -> bool:
        return job.generation != generation or self._jobs.get(job.uid) is not job

    def _ripen(self, now: float) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            _, _, job, generation, item = heappop(self._delayed)
            if not self._outdated(job, generation):
                heappush(job.ready, item)
                self._recount(job)
                self._offer(job)

    @staticmethod
    def _offer(job: _Job) -> None:
        """Rank the job anew, or withdraw it when nothing of it may be handed out."""
        job.version += 1
        if job.paused or not job.ready or 0 < job.parallelism <= job.running:
            return
        line = job.line
        heappush(line.offers, (job.ready[0][0] - job.priority, job.running, job.served, job.version, job))
        if len(line.offers) > 2 * len(line.jobs) + SPARE_OFFERS:
            line.offers = [offer for offer in line.offers if offer[3] == offer[4].version]
            heapify(line.offers)
