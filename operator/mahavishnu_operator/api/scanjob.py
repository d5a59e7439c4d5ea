"""ScanJob: a request for work, a scan (tools x files) or a list of tasks.

Plans, file lists and outputs never live here: spec says what is wanted, status says how it stands in
numbers, and the report is a reference by sha256.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StrictInt, StrictStr

from .base import ApiModel, Bool, Count, Glob, Name, Path, Priority, Seconds, Sha256, Text
from .reasons import JobPhase, Level, Verdict
from .workerpool import Condition


class PoolRef(ApiModel):
    """A WorkerPool by name; `namespace` only where the pool's allowedNamespaces admits ours."""

    name: Name
    namespace: Name | None = None


class RoutingStrategy(StrEnum):
    """How a pool or worker is chosen when none is named."""

    LEAST_LOADED = "least_loaded"
    ROUND_ROBIN = "round_robin"
    RANDOM = "random"
    AFFINITY = "affinity"


class Routing(ApiModel):
    """How a pool is chosen."""

    strategy: RoutingStrategy = RoutingStrategy.LEAST_LOADED
    worker_class: Name | None = None
    pools: Annotated[list[Name], Field(max_length=64)] = Field(default_factory=list)
    affinity_key: Text | None = None
    worker_name: Name | None = None


class GitSource(ApiModel):
    """A git repository and a revision of it."""

    url: Annotated[StrictStr, Field(min_length=1, max_length=2048)]
    revision: Annotated[StrictStr, Field(min_length=1, max_length=256)] = "HEAD"
    base_revision: Annotated[StrictStr, Field(min_length=1, max_length=256)] | None = None
    credentials_secret_ref: Name | None = None


class ArchiveSource(ApiModel):
    """A tar archive uploaded before."""

    sha256: Sha256


class ClaimSource(ApiModel):
    """A PersistentVolumeClaim in the ScanJob's namespace."""

    claim_name: Name
    sub_path: Annotated[StrictStr, Field(max_length=1024)] = ""


class Source(ApiModel):
    """Where the files are; exactly one member."""

    path: Path | None = Field(None, description="An absolute folder that the workers can read.")
    git: GitSource | None = None
    archive: ArchiveSource | None = None
    persistent_volume_claim: ClaimSource | None = None


class WholeProgramTools(StrEnum):
    """What an incremental scan does with tools that need the whole tree."""

    RERUN = "Rerun"
    DEFER = "Defer"


class Incremental(ApiModel):
    """Skip what is known good."""

    enabled: Bool = False
    full_scan_interval_days: Annotated[StrictInt, Field(ge=1, le=365)] = 7
    fallback_to_full: Bool = True
    whole_program_tools: WholeProgramTools = WholeProgramTools.RERUN


class ChunkingMode(StrEnum):
    """How files are cut into bins."""

    AUTO = "Auto"  # by the measured cost of each tool
    FIXED = "Fixed"  # `size` files a bin


class Chunking(ApiModel):
    """How files are cut into bins; whole-program tools are never cut."""

    mode: ChunkingMode = ChunkingMode.AUTO
    size: Annotated[StrictInt, Field(ge=1, le=100_000)] = Field(10, description="Files a bin in mode Fixed.")


class Scan(ApiModel):
    """Tools x files."""

    tools: Annotated[list[Name], Field(min_length=1, max_length=32)] = Field(description="Names of tools.")
    include: Annotated[list[Glob], Field(max_length=64)] = Field(
        default_factory=list, description="Globs of files to scan; empty: all."
    )
    exclude: Annotated[list[Glob], Field(max_length=64)] = Field(
        default_factory=list, description="Globs of files to leave out."
    )
    changed_since: Annotated[StrictStr, Field(min_length=1, max_length=256)] | None = None
    incremental: Incremental | None = None
    chunking: Chunking = Field(default_factory=Chunking)
    fail_on: Level = Field(
        Level.ERROR, description="Least level of a finding that makes the verdict Failed; none: never."
    )


Argv = Annotated[list[Annotated[StrictStr, Field(max_length=1024)]], Field(min_length=1, max_length=256)]


class InputRef(ApiModel):
    """A larger input, uploaded before."""

    sha256: Sha256


class Workspace(StrEnum):
    """Where a task runs."""

    SHARED = "Shared"
    WORKTREE = "Worktree"


class Task(ApiModel):
    """One unit of leasing: a command (argv, no shell), a prompt, or an input by reference.

    `command: ["builtin:noop"]` is answered by the agent itself and starts nothing.
    """

    id: Name
    command: Argv | None = None
    prompt: Annotated[StrictStr, Field(min_length=1, max_length=16_384)] | None = None
    input_ref: InputRef | None = None
    files: Annotated[list[Path], Field(max_length=200)] = Field(default_factory=list)
    priority: Priority = 0
    workspace: Workspace = Workspace.SHARED


class ScanJobSpec(ApiModel):
    """What work is wanted."""

    pool_ref: PoolRef | None = Field(None, description="The pool whose workers do it.")
    routing: Routing | None = Field(None, description="How a pool is chosen when none is named.")
    source: Source | None = Field(None, description="Where the files are; required for a scan.")
    scan: Scan | None = Field(None, description="Tools x files.")
    tasks: Annotated[list[Task], Field(min_length=1, max_length=500)] | None = Field(None, description="Single tasks.")
    timeout_seconds: Seconds = Field(3600, description="Seconds for the whole job, from creation.")
    task_timeout_seconds: Seconds = Field(600, description="Seconds of wall clock for one attempt.")
    queue_timeout_seconds: Seconds | None = Field(
        None, description="Seconds until a worker must have taken the first task."
    )
    max_attempts: Annotated[StrictInt, Field(ge=1, le=10)] = Field(
        2, description="Attempts a task whose tool fails gets."
    )
    priority: Priority = Field(0, description="Higher runs first within a pool.")
    parallelism: Annotated[StrictInt, Field(ge=1, le=10_000)] | None = Field(
        None, description="Most tasks at the same time."
    )
    suspend: Bool = Field(False, description="Lease nothing new while set.")
    cancel: Bool = Field(False, description="Stop, and keep what is done; cannot be taken back.")
    ttl_seconds_after_finished: Annotated[StrictInt, Field(ge=0, le=31_536_000)] | None = Field(
        None, description="Seconds after its end until the job is deleted; unset: never."
    )


class TaskCounts(ApiModel):
    """Tasks by state. Without `retried` they add up: total = queued + running + succeeded + failed + cached + cancelled."""

    total: Count = 0
    queued: Count = 0
    running: Count = 0
    succeeded: Count = 0
    failed: Count = 0
    cached: Count = 0
    cancelled: Count = 0
    retried: Count = 0


class FindingCounts(ApiModel):
    """Findings by level and by tool; `new` and `fixed` against the last report, when there is one."""

    total: Count = 0
    by_severity: dict[Name, Count] = Field(default_factory=dict)
    by_tool: dict[Name, Count] = Field(default_factory=dict)
    new: Count | None = None
    fixed: Count | None = None


class ReportRef(ApiModel):
    """The stored report."""

    uri: Text
    sha256: Sha256
    bytes: Annotated[StrictInt, Field(ge=0)]
    truncated: Bool = False


class TaskOutcome(ApiModel):
    """A short answer of one task: for the few that fit."""

    id: Annotated[StrictStr, Field(max_length=128)]
    status: Text
    reason: Text = ""
    exit_code: Annotated[StrictInt, Field()] | None = None
    message: Text = ""


class ScanJobStatus(ApiModel):
    """How the work stands."""

    observed_generation: Annotated[StrictInt, Field(ge=0)] | None = None
    phase: JobPhase = JobPhase.PENDING
    verdict: Verdict = Verdict.PENDING
    tasks: TaskCounts = Field(default_factory=TaskCounts)
    findings: FindingCounts | None = None
    report: ReportRef | None = None
    results: Annotated[list[TaskOutcome], Field(max_length=20)] = Field(default_factory=list)
    start_time: Text | None = None
    completion_time: Text | None = None
    conditions: Annotated[list[Condition], Field(max_length=32)] = Field(default_factory=list)
