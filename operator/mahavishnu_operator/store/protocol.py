"""The store's protocol (docs/adr/0003): SQLite when one process owns it, PostgreSQL when two replicas do.

The pressure: a result that was acknowledged and is lost, or counted twice, is the one defect nobody
forgives. So a write returns when it is on disk and not before (writes of many callers share one commit), and every
write names the epoch of the dispatcher that makes it: a dispatcher that was replaced while it slept
changes nothing.

What must stay true: a task has at most one result; a grant exists before its worker hears of it; every
method is one transaction; StaleEpoch means that nothing was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mahavishnu_operator.support.errors import MahavishnuError

from .records import (
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


class StaleEpoch(MahavishnuError):
    """Another dispatcher has taken over since: stop, write nothing."""

    reason = "StaleEpoch"


class NotStored(MahavishnuError):
    """Nothing was written; the same call may work later."""

    reason = "NotStored"


class StoreFull(NotStored):
    """The disk under the store is full."""

    reason = "StoreFull"


class StoreUnavailable(NotStored):
    """The database server could not be reached, or could not finish the transaction."""

    reason = "StoreUnavailable"


class OutcomeUnknown(MahavishnuError):
    """The database server went away in the middle of a commit and has not said since what became of it."""

    reason = "OutcomeUnknown"


class BlobDamaged(MahavishnuError):
    """A blob is not the bytes that its name says: reading it again brings the same."""

    reason = "BlobDamaged"


class Store(Protocol):
    """All methods may raise StaleEpoch (where they take `epoch`), NotStored, and OutcomeUnknown on a server."""

    async def take_epoch(self, holder: str) -> int:
        """Become the writer: the highest epoch so far plus one, durable. Lower epochs are refused from now on."""
        ...

    # jobs and tasks
    async def add_job(self, epoch: int, job: JobRecord, tasks: Sequence[TaskRecord]) -> None:
        """Create the job if it is new and add those of its tasks that are new, in one transaction."""
        ...

    async def set_job_state(self, epoch: int, uid: str, state: JobState) -> None:
        """Change a job's state; CANCELLED also turns its queued tasks to cancelled, each with a result.

        An unknown uid or a closed job: no change.
        """
        ...

    async def open_jobs(self) -> list[JobRecord]:
        """Jobs that are not CLOSED, for rebuilding the queue."""
        ...

    async def tasks(self, uid: str) -> list[TaskRecord]:
        """All tasks of a job in order of seq."""
        ...

    async def open_grants(self) -> list[GrantRecord]:
        """The latest grant of every leased task, of any epoch."""
        ...

    async def workers(self, uid: str) -> dict[str, str]:
        """Who was granted each task of a job last, `namespace/pool/worker`; a task never granted is left out."""
        ...

    async def outcome(self, key: TaskKey) -> TaskOutcome | None:
        """One task with what came of it; None: the job has no such task."""
        ...

    # the life of an attempt
    async def record_grants(self, epoch: int, grants: Sequence[GrantRecord]) -> None:
        """Write grants and mark their tasks leased, attempts + 1.

        Conflict, and nothing is written, when a task is not queued with exactly one attempt less.
        """
        ...

    async def end_attempts(self, epoch: int, ends: Sequence[AttemptEnd]) -> None:
        """Close attempts without a result; their tasks are queued again (`requeue`) or failed with a result row.

        An attempt that is closed already stays as it is. A task of a cancelled job is cancelled, not queued.
        """
        ...

    async def record_results(self, epoch: int, results: Sequence[ResultRecord]) -> list[Recorded]:
        """One answer for each result, in order. Only the task's latest attempt, still open, is recorded.

        DUPLICATE: this very attempt is what counts. SUPERSEDED: it was given up, or another one counts.
        """
        ...

    async def result(self, key: TaskKey) -> ResultRecord | None:
        """The result that counts, if there is one."""
        ...

    async def results(self, uid: str, *, after_seq: int = -1, limit: int = 1000) -> list[tuple[int, ResultRecord]]:
        """Results of a job as (seq, result), by seq, a page at a time; tasks of one seq are never parted."""
        ...

    async def append_output(self, epoch: int, pieces: Sequence[OutputPiece]) -> None:
        """Keep running output; a piece that is there already (same offset) is ignored."""
        ...

    async def output(
        self,
        key: TaskKey,
        *,
        attempt: int | None = None,
        stream: str = "stdout",
        offset: int = 0,
        limit: int = 65536,
    ) -> bytes:
        """Bytes of an attempt's output (the latest attempt by default) from offset."""
        ...

    # blobs and reports
    async def put_blob(self, epoch: int, data: bytes, *, job: str = "") -> str:
        """Store bytes under their SHA-256 and answer it; with `job` they live as long as that job at the least.

        The same bytes again cost nothing. A job also names what its task specs, results and report name.
        A blob that no job names may go an hour after it was put, if no open job is older than it.
        """
        ...

    async def name_blobs(self, epoch: int, job: str, digests: Sequence[str]) -> None:
        """Tie blobs that are there to a job; an unknown job ties nothing."""
        ...

    async def blob(self, sha256: str) -> bytes | None:
        """The bytes, or None; the digest is checked on reading."""
        ...

    async def put_report(self, epoch: int, report: ReportRecord) -> None:
        """Store or replace the report of a job. NotFound: the job or the blob is not there."""
        ...

    async def report(self, uid: str) -> ReportRecord | None:
        """The report of a job, if stored."""
        ...

    # sources
    async def put_source(self, epoch: int, source: SourceRecord) -> None:
        """Store or replace a job's source, which keeps its blob. NotFound: the blob is not there."""
        ...

    async def source(self, job: str) -> SourceRecord | None:
        """The source of a job, if stored."""
        ...

    async def find_source(self, namespace: str, sha256: str) -> SourceRecord | None:
        """A source of that content that some job of the namespace has."""
        ...

    async def source_namespaces(self, sha256: str) -> frozenset[str]:
        """The namespaces whose jobs have that source; empty: it is none."""
        ...

    async def sources(self) -> list[SourceRecord]:
        """The sources of all jobs, for retention."""
        ...

    # memory
    async def remember(self, epoch: int, keys: Sequence[MemoryKey], *, at: float) -> None:
        """Mark content as known good at that time."""
        ...

    async def recall(self, keys: Sequence[MemoryKey], *, since: float) -> set[MemoryKey]:
        """Those of the keys that were marked good at or after `since`."""
        ...

    # workers' tokens
    async def put_token(self, epoch: int, token: TokenRecord) -> None:
        """Let a worker in."""
        ...

    async def find_token(self, token_sha256: str) -> TokenRecord | None:
        """Whose token it is, or None."""
        ...

    async def drop_tokens(self, epoch: int, *, pool: str, worker: str | None = None) -> None:
        """Let a worker, or all of a pool, in no more."""
        ...

    # housekeeping
    async def forget_jobs(self, epoch: int, uids: Sequence[str]) -> None:
        """Delete everything of these jobs; blobs nobody names any more go too."""
        ...

    async def known_jobs(self) -> list[tuple[str, float]]:
        """Every job's uid and the time it was added, for retention."""
        ...

    async def close(self) -> None:
        """Finish what was begun and release files and connections."""
        ...
