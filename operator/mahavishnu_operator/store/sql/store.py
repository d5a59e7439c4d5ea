"""SqlStore: the store's protocol on a database that takes SQL, and a place for blobs.

Every method is one transaction; those that name an epoch check it first in that same transaction, so that a
dispatcher that was replaced writes nothing, however late its call arrives. What must stay true: a work handed to the
database does nothing but talk to it, because it may be run again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import structlog

from mahavishnu_operator.store.protocol import StaleEpoch, StoreFull
from mahavishnu_operator.store.records import (
    AttemptEnd,
    GrantRecord,
    JobRecord,
    JobState,
    MemoryKey,
    OutputPiece,
    Recorded,
    ReportRecord,
    ResultRecord,
    SourceRecord,
    TaskKey,
    TaskOutcome,
    TaskRecord,
    TokenRecord,
)
from mahavishnu_operator.support.errors import MahavishnuError, NotFound
from mahavishnu_operator.support.group_commit import DatabaseFull, Session

from . import attempts, jobs, keeping, references, results, sources
from .database import Blobs, Database

log = structlog.get_logger(__name__)
T = TypeVar("T")
SWEPT_AT_ONCE = 1000  # blobs looked at in one turn of the writer: results do not wait long behind them


class SqlStore:
    """See store.protocol.Store. `fence`: the statement that reads (epoch, holder) inside a write."""

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        *,
        fence: str = "SELECT epoch, holder FROM epoch",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database, self._blobs, self._fence, self._clock = database, blobs, fence, clock
        self._opened_at = self._swept_at = clock()

    async def take_epoch(self, holder: str) -> int:
        """The next epoch, durable."""
        return await self._write(
            lambda c: int(
                c.execute("UPDATE epoch SET epoch = epoch + 1, holder = ? RETURNING epoch", (holder,)).fetchone()[0]
            )
        )

    async def add_job(self, epoch: int, job: JobRecord, tasks: Sequence[TaskRecord]) -> None:
        """Add what is new of the job and its tasks."""
        await self._fenced(epoch, lambda c: jobs.add_job(c, job, tasks, now=self._clock()))

    async def set_job_state(self, epoch: int, uid: str, state: JobState) -> None:
        """Change a job's state."""
        await self._fenced(epoch, lambda c: jobs.set_job_state(c, uid, state, now=self._clock()))

    async def open_jobs(self) -> list[JobRecord]:
        """Jobs that are not closed."""
        return await self._database.read(jobs.open_jobs)

    async def tasks(self, uid: str) -> list[TaskRecord]:
        """All tasks of a job, by seq."""
        return await self._database.read(lambda c: jobs.tasks_of(c, uid))

    async def open_grants(self) -> list[GrantRecord]:
        """The open grant of every leased task."""
        return await self._database.read(attempts.open_grants)

    async def workers(self, uid: str) -> dict[str, str]:
        """Who was granted each task last."""
        return await self._database.read(lambda c: attempts.workers(c, uid))

    async def outcome(self, key: TaskKey) -> TaskOutcome | None:
        """One task with what came of it."""

        def work(session: Session) -> TaskOutcome | None:
            task = jobs.task_of(session, key)
            if task is None:
                return None
            return TaskOutcome(task, results.read_result(session, key), attempts.last_worker(session, key))

        return await self._database.read(work)

    async def record_grants(self, epoch: int, grants: Sequence[GrantRecord]) -> None:
        """Write grants; Conflict when a task is not queued for that attempt."""
        await self._fenced(epoch, lambda c: attempts.record_grants(c, grants))

    async def end_attempts(self, epoch: int, ends: Sequence[AttemptEnd]) -> None:
        """Close attempts that brought no answer."""
        await self._fenced(epoch, lambda c: attempts.end_attempts(c, ends))

    async def record_results(self, epoch: int, delivered: Sequence[ResultRecord]) -> list[Recorded]:
        """Record results, and say what became of each."""
        return await self._fenced(epoch, lambda c: results.record_results(c, delivered))

    async def result(self, key: TaskKey) -> ResultRecord | None:
        """The result that counts."""
        return await self._database.read(lambda c: results.read_result(c, key))

    async def results(self, uid: str, *, after_seq: int = -1, limit: int = 1000) -> list[tuple[int, ResultRecord]]:
        """A page of a job's results, by seq."""
        return await self._database.read(lambda c: results.read_page(c, uid, after_seq=after_seq, limit=limit))

    async def append_output(self, epoch: int, pieces: Sequence[OutputPiece]) -> None:
        """Keep running output."""
        await self._fenced(epoch, lambda c: keeping.append_output(c, pieces))

    async def output(
        self, key: TaskKey, *, attempt: int | None = None, stream: str = "stdout", offset: int = 0, limit: int = 65536
    ) -> bytes:
        """A page of an attempt's output."""
        return await self._database.read(
            lambda c: keeping.read_output(c, key, attempt=attempt, stream=stream, offset=offset, limit=limit)
        )

    async def put_blob(self, epoch: int, data: bytes, *, job: str = "") -> str:
        """Store bytes; with `job` they live at least as long as that job."""
        digest = await self._blobs.put(data, lambda work: self._fenced(epoch, work))
        if job:
            await self.name_blobs(epoch, job, [digest])
        return digest

    async def name_blobs(self, epoch: int, job: str, digests: Sequence[str]) -> None:
        """Tie blobs to a job: they go when the last job that names them goes."""
        await self._fenced(epoch, lambda c: references.tie(c, [(digest, job) for digest in digests]))

    async def blob(self, sha256: str) -> bytes | None:
        """The bytes of a blob, checked."""
        return await self._blobs.get(sha256)

    async def put_report(self, epoch: int, report: ReportRecord) -> None:
        """Store or replace a job's report. NotFound: the job is not there, or the blob was not put before."""

        def work(session: Session) -> None:
            if not self._blobs.has(session, report.sha256):
                raise NotFound(f"report of job {report.job}: there is no blob {report.sha256}", hint="put it first")
            keeping.put_report(session, report)

        await self._fenced(epoch, work)

    async def report(self, uid: str) -> ReportRecord | None:
        """The report of a job."""
        return await self._database.read(lambda c: keeping.read_report(c, uid))

    async def put_source(self, epoch: int, source: SourceRecord) -> None:
        """Store or replace a job's source. NotFound: the blob was not put before."""

        def work(session: Session) -> None:
            if not self._blobs.has(session, source.sha256):
                raise NotFound(f"source of job {source.job}: there is no blob {source.sha256}", hint="put it first")
            sources.put(session, source)

        await self._fenced(epoch, work)

    async def source(self, job: str) -> SourceRecord | None:
        """The source of a job."""
        return await self._database.read(lambda c: sources.of_job(c, job))

    async def find_source(self, namespace: str, sha256: str) -> SourceRecord | None:
        """A source of that content in the namespace."""
        return await self._database.read(lambda c: sources.find(c, namespace, sha256))

    async def source_namespaces(self, sha256: str) -> frozenset[str]:
        """The namespaces whose jobs have that source."""
        return await self._database.read(lambda c: sources.namespaces_of(c, sha256))

    async def sources(self) -> list[SourceRecord]:
        """The sources of all jobs."""
        return await self._database.read(sources.every)

    async def remember(self, epoch: int, keys: Sequence[MemoryKey], *, at: float) -> None:
        """Mark content as known good."""
        await self._fenced(epoch, lambda c: keeping.remember(c, keys, at=at))

    async def recall(self, keys: Sequence[MemoryKey], *, since: float) -> set[MemoryKey]:
        """Those of the keys marked good since then."""
        return await self._database.read(lambda c: keeping.recall(c, keys, since=since))

    async def put_token(self, epoch: int, token: TokenRecord) -> None:
        """Let a worker in."""
        await self._fenced(epoch, lambda c: keeping.put_token(c, token))

    async def find_token(self, token_sha256: str) -> TokenRecord | None:
        """Whose token it is."""
        return await self._database.read(lambda c: keeping.find_token(c, token_sha256))

    async def drop_tokens(self, epoch: int, *, pool: str, worker: str | None = None) -> None:
        """Let a worker, or all of a pool, in no more."""
        await self._fenced(epoch, lambda c: keeping.drop_tokens(c, pool=pool, worker=worker))

    async def forget_jobs(self, epoch: int, uids: Sequence[str]) -> None:
        """Delete everything of these jobs. Their blobs follow; one that cannot be deleted now waits for a sweep."""
        freed = await self._fenced(epoch, lambda c: jobs.forget(c, uids))
        try:
            await self._collect(epoch, freed)
        except (MahavishnuError, OSError) as error:  # the jobs are forgotten, whatever becomes of blobs
            log.warning(
                "blobs of forgotten jobs could not be deleted", error=str(error), again_in=references.YOUNG_SECONDS
            )

    async def known_jobs(self) -> list[tuple[str, float]]:
        """Every job's uid and when it was added."""
        rows = await self._database.read(lambda c: c.execute("SELECT uid, added_at FROM jobs").fetchall())
        return [(uid, at) for uid, at in rows]

    async def close(self) -> None:
        """Finish writes and release the file."""
        await self._database.close()

    async def _collect(self, epoch: int, freed: set[str]) -> None:
        """Delete blobs that are waste: of those given, and once an hour of all.

        In the first hour nothing goes: the blobs of the time before the start may still be named by
        reconcilers that were away as long as we were.
        """
        now = self._clock()
        if now - self._opened_at < references.YOUNG_SECONDS:
            return
        candidates = list(freed)
        if now - self._swept_at >= references.YOUNG_SECONDS:
            self._swept_at = now
            candidates = await self._blobs.put_before(now - references.YOUNG_SECONDS)
        for start in range(0, len(candidates), SWEPT_AT_ONCE):
            some = candidates[start : start + SWEPT_AT_ONCE]
            await self._fenced(epoch, partial(self._drop_waste, some, now=now))

    def _drop_waste(self, digests: list[str], session: Session, *, now: float) -> None:
        before = references.collectable_before(session, now=now)
        self._blobs.drop(session, references.untied(session, digests), before=before)

    async def _write(self, work: Callable[[Session], T]) -> T:
        try:
            return await self._database.write(work)
        except DatabaseFull as error:
            raise StoreFull(error.message, hint=error.hint) from None

    async def _fenced(self, epoch: int, work: Callable[[Session], T]) -> T:
        def checked(session: Session) -> T:
            current, holder = session.execute(self._fence).fetchone()
            if current > epoch:
                raise StaleEpoch(
                    f"epoch {epoch} was replaced by epoch {current} of {holder}", hint="stop this dispatcher"
                )
            return work(session)

        return await self._write(checked)
