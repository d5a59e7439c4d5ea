"""Rows as the engine sees them; frozen, with no SQL in them.

Keys: a job is its ScanJob's UID (a name can be used again, a UID never), a task is (job, task id), an
attempt is (job, task id, attempt number from 1). Times are seconds since the Unix epoch by the store
holder's clock, used for showing and for retention only; deadlines of leases live in the dispatcher's
monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mahavishnu_operator.api.reasons import FailureClass


class JobState(StrEnum):
    """Whether tasks of a job may be leased."""

    OPEN = "open"
    SUSPENDED = "suspended"
    CANCELLED = "cancelled"
    CLOSED = "closed"  # its ScanJob is terminal: results stay until retention


class TaskState(StrEnum):
    """Where a task stands; the last three are terminal."""

    QUEUED = "queued"
    LEASED = "leased"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """True when the task counts and is never leased again."""
        return self in (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED)


@dataclass(frozen=True, slots=True)
class TaskKey:
    """A task; on the wire `<job>/<task>`."""

    job: str
    task: str

    def __str__(self) -> str:
        return f"{self.job}/{self.task}"

    @classmethod
    def parse(cls, text: str) -> TaskKey:
        """The key in `<job>/<task>`; ValueError when there is no slash."""
        job, _, task = text.partition("/")
        if not job or not task:
            raise ValueError(f"not a task key: {text!r}")
        return cls(job, task)


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One ScanJob as the dispatcher needs it. `pool` is `namespace/name` of the WorkerPool.

    `worker`: the one worker of that pool that is leased its tasks; empty: any.
    """

    uid: str
    namespace: str
    name: str
    pool: str
    priority: int = 0
    parallelism: int = 0  # 0: no limit
    max_attempts: int = 2
    task_timeout_seconds: float = 600.0
    state: JobState = JobState.OPEN
    worker: str = ""


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """One unit of leasing. `spec` is the JSON of a wire.TaskSpec; `seq` the order within the job (small first)."""

    key: TaskKey
    seq: int
    spec: bytes
    priority: int = 0
    state: TaskState = TaskState.QUEUED
    attempts: int = 0  # attempts granted so far
    charged: int = 0  # of those, ended by class tool
    lost: int = 0  # of those, ended by worker-lost or disrupted


@dataclass(frozen=True, slots=True)
class GrantRecord:
    """A task handed to a worker: written before the worker hears of it."""

    key: TaskKey
    attempt: int
    epoch: int
    worker: str  # `namespace/pool/worker`
    granted_at: float
    lease_seconds: float


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """An attempt that ended without counting. `requeue`: the task goes back to the queue, else it fails."""

    key: TaskKey
    attempt: int
    failure: FailureClass
    reason: str
    message: str
    requeue: bool
    ended_at: float


@dataclass(frozen=True, slots=True)
class ResultRecord:
    """What counts for a task: one row a task, whatever happened before.

    `state` is succeeded, failed or cancelled; `body` the JSON of the wire.TaskResult as delivered
    (or as made by the dispatcher when the last allowed worker was lost: then exit_code is None).
    """

    key: TaskKey
    attempt: int
    state: TaskState
    body: bytes
    finished_at: float
    charged: bool = False


@dataclass(frozen=True, slots=True)
class TaskOutcome:
    """A task as it stands: the result that counts, if there is one, and who was granted it last; empty: nobody."""

    task: TaskRecord
    result: ResultRecord | None = None
    worker: str = ""


class Recorded(StrEnum):
    """What the store did with a result."""

    RECORDED = "recorded"
    DUPLICATE = "duplicate"
    SUPERSEDED = "superseded"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ReportRecord:
    """The report of a job; the SARIF itself is the blob `sha256`."""

    job: str
    sha256: str
    size_bytes: int
    truncated: bool
    summary: bytes  # JSON: counts and verdict
    stored_at: float


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """The archive of a job's files: the blob `sha256`, brought by somebody who may speak for the job.

    `revision` and `base_revision` are commits, empty where there are none. It stands before the job has tasks.
    """

    job: str
    namespace: str
    sha256: str
    size_bytes: int
    stored_at: float
    revision: str = ""
    base_revision: str = ""


@dataclass(frozen=True, slots=True)
class MemoryKey:
    """What makes a known-good entry the same (design.md, Incremental scans; facts: a tool that looks at siblings).

    `pool` is the WorkerPool's UID: a pool is one trust domain. `content` is a blob id for per-file
    tools and the digest of everything read for whole-program tools; `siblings` is empty where a tool
    does not look at neighbours' names.
    """

    pool: str
    tool: str
    tool_version: str
    config_digest: str
    environment_digest: str
    path: str
    content: str
    siblings: str = ""


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A worker's own token, as a SHA-256 of it: the token itself is never stored."""

    token_sha256: str
    pool: str
    worker: str
    issued_at: float


@dataclass(frozen=True, slots=True)
class OutputPiece:
    """A piece of a running attempt's output."""

    key: TaskKey
    attempt: int
    stream: str
    offset: int
    data: bytes
