"""ScanJob: a request for work, a scan (tools x files) or a list of tasks.

Plans, file lists and outputs never live here: spec says what is wanted, status says how it stands in
numbers, and the report is a reference by sha256.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, StrictInt, StrictStr

from .base import (
    FILLED,
    SET,
    UNFILLED,
    ApiModel,
    Bool,
    Commit,
    Count,
    FilePath,
    Glob,
    LongName,
    Name,
    Namespace,
    Path,
    Priority,
    Revision,
    Seconds,
    Sha256,
    Text,
    Total,
    keyed_by,
)
from .condition import BY_TYPE, CONDITIONS_DESCRIPTION, UNSEEN, Conditions
from .reasons import JobPhase, Level, Verdict


class PoolRef(ApiModel):
    """A WorkerPool by name; `namespace` only where the pool's allowedNamespaces admits ours."""

    name: Name = Field(description="Name of the WorkerPool.")
    namespace: Namespace | None = Field(None, description="Its namespace; left out: the ScanJob's own.")


class RoutingStrategy(StrEnum):
    """How one pool is chosen, once, when the job's tasks are first queued."""

    LEAST_LOADED = "least_loaded"  # fewest queued and running tasks a slot that is ready
    ROUND_ROBIN = "round_robin"  # the pool that was given a job least recently
    RANDOM = "random"  # by the job's UID: any pool, and the same one when it is chosen again
    AFFINITY = "affinity"  # by the affinityKey; a pool that comes or goes moves only its own share of keys


class Routing(ApiModel):
    """How a pool, and if wished a worker, is chosen."""

    strategy: RoutingStrategy = Field(
        RoutingStrategy.LEAST_LOADED,
        description="How one of several pools is chosen, once for the whole job: least_loaded (fewest tasks a ready "
        "slot), round_robin (given a job least recently), random, affinity (the same key, the same pool).",
    )
    worker_class: Name | None = Field(None, description="Only pools with this workerClass.")
    pools: Annotated[list[Name], Field(max_length=64)] = Field(
        default_factory=list,
        description="Only pools of these names; empty: every pool of the job's namespace, and those whose "
        "allowedNamespaces admit it.",
        json_schema_extra=SET,
    )
    affinity_key: Text | None = Field(
        None, description="With strategy affinity: jobs with the same key go to the same pool."
    )
    worker_name: Name | None = Field(
        None, description="Only this worker of the one pool in `pools`; the job waits while it is not there."
    )


class SecretRef(ApiModel):
    """A Secret in the object's own namespace."""

    name: LongName = Field(description="Name of the Secret.")


class GitSource(ApiModel):
    """A git repository and a revision of it."""

    url: Annotated[StrictStr, Field(min_length=1, max_length=2048)] = Field(
        description="Where to fetch from: https://, ssh:// or git@host:path."
    )
    revision: Revision = Field("HEAD", description="Branch, tag or commit to scan.")
    base_revision: Revision | None = Field(None, description="Branch, tag or commit to compare with.")
    credentials_secret_ref: SecretRef | None = Field(
        None, description="A Secret in the ScanJob's namespace with the credentials for the repository."
    )


class ArchiveSource(ApiModel):
    """A tar archive uploaded before."""

    sha256: Sha256 = Field(description="SHA-256 of the archive, 64 small hexadecimal digits.")


class ClaimSource(ApiModel):
    """A PersistentVolumeClaim in the ScanJob's namespace."""

    claim_name: LongName = Field(description="Name of the PersistentVolumeClaim.")
    sub_path: Annotated[StrictStr, Field(max_length=1024)] = Field("", description="Folder within the volume.")


class Source(ApiModel):
    """Where the files are; exactly one member."""

    path: Path | None = Field(None, description="An absolute folder that the workers can read.")
    git: GitSource | None = Field(None, description="A git repository.")
    archive: ArchiveSource | None = Field(None, description="An archive uploaded before.")
    persistent_volume_claim: ClaimSource | None = Field(None, description="A volume in the ScanJob's namespace.")


class WholeProgramTools(StrEnum):
    """What an incremental scan does with tools that need the whole tree."""

    RERUN = "Rerun"
    DEFER = "Defer"


class Incremental(ApiModel):
    """Skip what is known good."""

    enabled: Bool = Field(False, description="Leave out files whose content was scanned before and found good.")
    full_scan_interval_days: Annotated[StrictInt, Field(ge=1, le=365)] = Field(
        7, description="Days after which everything is scanned again."
    )
    fallback_to_full: Bool = Field(True, description="Scan everything when what is known good cannot be read.")
    whole_program_tools: WholeProgramTools = Field(
        WholeProgramTools.RERUN, description="Rerun tools that need the whole tree, or Defer them to the full scan."
    )


class ChunkingMode(StrEnum):
    """How files are cut into bins."""

    AUTO = "Auto"  # by the measured cost of each tool
    FIXED = "Fixed"  # `size` files a bin


class Chunking(ApiModel):
    """How files are cut into bins; whole-program tools are never cut."""

    mode: ChunkingMode = Field(
        ChunkingMode.AUTO, description="Auto: by the measured cost of each tool. Fixed: `size` files a bin."
    )
    size: Annotated[StrictInt, Field(ge=1, le=100_000)] = Field(
        10, description="Files a bin in mode Fixed; 10 unless set.", json_schema_extra={UNFILLED: True}
    )


class Scan(ApiModel):
    """Tools x files."""

    tools: Annotated[list[Name], Field(min_length=1, max_length=32)] = Field(
        description="Names of tools, each once: bandit, codespell, complexipy, mypy, ruff, vulture.",
        json_schema_extra=SET,
    )
    include: Annotated[list[Glob], Field(max_length=64)] = Field(
        default_factory=list, description="Globs of files to scan, relative to the source; empty: all."
    )
    exclude: Annotated[list[Glob], Field(max_length=64)] = Field(
        default_factory=list, description="Globs of files to leave out, relative to the source."
    )
    changed_since: Revision | None = Field(
        None, description="Scan only files that differ from this branch, tag or commit."
    )
    incremental: Incremental | None = Field(None, description="Skip what is known good.")
    chunking: Chunking = Field(
        default_factory=Chunking, description="How files are cut into bins.", json_schema_extra=FILLED
    )
    fail_on: Level = Field(
        Level.ERROR, description="Least level of a finding that makes the verdict Failed; none: never."
    )


Argv = Annotated[list[Annotated[StrictStr, Field(max_length=1024)]], Field(min_length=1, max_length=256)]


class InputRef(ApiModel):
    """A larger input, uploaded before."""

    sha256: Sha256 = Field(description="SHA-256 of the input, 64 small hexadecimal digits.")


class Workspace(StrEnum):
    """Where a task runs."""

    SHARED = "Shared"
    WORKTREE = "Worktree"


class Task(ApiModel):
    """One unit of leasing: a command (argv, no shell), a prompt, or an input by reference.

    `command: ["builtin:noop"]` is answered by the agent itself and starts nothing.
    """

    id: Name = Field(description="Names the task's result; used once in a job.")
    command: Argv | None = Field(None, description="Program and arguments, started without a shell.")
    prompt: Annotated[StrictStr, Field(min_length=1, max_length=16_384)] | None = Field(
        None, description="What to ask a coding agent; on shell workers a command line."
    )
    input_ref: InputRef | None = Field(None, description="A prompt uploaded before, for one that does not fit here.")
    files: Annotated[list[FilePath], Field(max_length=200)] = Field(
        default_factory=list, description="Files that the task is about; relative ones to the source."
    )
    priority: Priority = Field(0, description="Higher runs first within the job.")
    workspace: Workspace = Field(
        Workspace.SHARED, description="Shared: the source itself. Worktree: a copy of the task's own."
    )


class ScanJobSpec(ApiModel):
    """What work is wanted."""

    pool_ref: PoolRef | None = Field(None, description="The pool whose workers do it.")
    routing: Routing | None = Field(None, description="How a pool is chosen when none is named.")
    source: Source | None = Field(None, description="Where the files are; required for a scan.")
    scan: Scan | None = Field(None, description="Tools x files.")
    tasks: Annotated[list[Task], Field(min_length=1, max_length=500)] | None = Field(
        None, description="Single tasks.", json_schema_extra=keyed_by("id")
    )
    timeout_seconds: Seconds = Field(3600, description="Seconds for the whole job, from creation.")
    task_timeout_seconds: Seconds = Field(
        600, description="Seconds of wall clock for one attempt; 600 unless set.", json_schema_extra={UNFILLED: True}
    )
    queue_timeout_seconds: Seconds | None = Field(
        None, description="Seconds from creation until a worker must have taken the first task; left out: no limit."
    )
    max_attempts: Annotated[StrictInt, Field(ge=1, le=10)] = Field(
        2, description="Attempts a task whose tool fails gets."
    )
    priority: Priority = Field(
        0, description="Higher runs first within a pool; equal ones share it, namespaces first, then jobs."
    )
    parallelism: Annotated[StrictInt, Field(ge=1, le=10_000)] | None = Field(
        None, description="Most tasks at the same time; left out: as many as the pool has slots."
    )
    suspend: Bool = Field(False, description="Lease nothing new while set.")
    cancel: Bool = Field(False, description="Stop, and keep what is done; cannot be taken back.")
    ttl_seconds_after_finished: Annotated[StrictInt, Field(ge=0, le=31_536_000)] | None = Field(
        None, description="Seconds after its end until the job is deleted; unset: never."
    )


class TaskCounts(ApiModel):
    """Tasks by state. Without `retried`: total = queued + running + succeeded + failed + cached + cancelled."""

    total: Count = Field(0, description="Tasks in the plan.")
    queued: Count = Field(0, description="Tasks waiting for a worker.")
    running: Count = Field(0, description="Tasks leased to a worker.")
    succeeded: Count = Field(0, description="Tasks that ran and have an answer.")
    failed: Count = Field(0, description="Tasks that ended without an answer.")
    cached: Count = Field(0, description="Tasks that were not run because their content is known good.")
    cancelled: Count = Field(0, description="Tasks given up because the job was cancelled or timed out.")
    retried: Count = Field(0, description="Attempts beyond the first of a task.")


class FindingCounts(ApiModel):
    """Findings by level and by tool."""

    total: Count = Field(0, description="All findings.")
    by_severity: Annotated[dict[str, Count], Field(max_length=16)] = Field(
        default_factory=dict, description="Findings by level: error, warning, note."
    )
    by_tool: Annotated[dict[str, Count], Field(max_length=64)] = Field(
        default_factory=dict, description="Findings by tool."
    )
    new: Count | None = Field(None, description="Findings that the last report of this source did not have.")
    fixed: Count | None = Field(None, description="Findings of the last report of this source that are gone.")


class ReportRef(ApiModel):
    """The stored report, SARIF 2.1.0."""

    uri: Text = Field(description="Where to read it: a path on the operator's API.")
    sha256: Sha256 = Field(description="SHA-256 of it.")
    bytes: Total = Field(description="Its length in bytes.")
    truncated: Bool = Field(False, description="Some findings were left out to bound its size; the report says which.")


class TaskOutcome(ApiModel):
    """A short answer of one task."""

    id: Annotated[StrictStr, Field(max_length=128)] = Field(description="The task.")
    status: Text = Field(description="How its last attempt ended.")
    reason: Text = Field("", description="Why, in one CamelCase word.")
    exit_code: StrictInt | None = Field(None, description="Exit code of its process; negative: ended by that signal.")
    message: Text = Field("", description="Why, in words.")


class ResolvedSource(ApiModel):
    """What is scanned, by content: it was found out once, and every task of the job looks at it."""

    commit: Commit | None = Field(None, description="The commit that source.git.revision named.")
    base_commit: Commit | None = Field(None, description="The commit that source.git.baseRevision named.")
    archive_sha256: Sha256 | None = Field(None, description="SHA-256 of the archive that the workers unpacked.")


class ScanJobStatus(ApiModel):
    """How the work stands."""

    observed_generation: Total | None = Field(None, description="The metadata.generation that this status is about.")
    phase: JobPhase = Field(
        JobPhase.PENDING, description="Where the job stands; Succeeded, Failed and Cancelled are ends."
    )
    verdict: Verdict = Field(Verdict.PENDING, description="The findings measured against spec.scan.failOn.")
    pool: Annotated[StrictStr, Field(max_length=128)] | None = Field(
        None, description="The WorkerPool that has the tasks, namespace/name, once they are queued."
    )
    source: ResolvedSource | None = Field(None, description="What is scanned, once that is known.")
    tasks: TaskCounts = Field(default_factory=TaskCounts, description="Tasks by state.")
    findings: FindingCounts | None = Field(None, description="Findings, once all tasks have ended.")
    dispatcher: Text | None = Field(
        None,
        description="Path on the API server at which a person reaches the dispatcher, to bring the archive and to read "
        "the report.",
    )
    report: ReportRef | None = Field(None, description="The stored report.")
    results: Annotated[list[TaskOutcome], Field(max_length=20)] = Field(
        default_factory=list, description="Short answers of the first few tasks; all are in the results store."
    )
    start_time: Text | None = Field(None, description="When the first task was leased, RFC 3339 in UTC.")
    completion_time: Text | None = Field(None, description="When the job ended, RFC 3339 in UTC.")
    conditions: Conditions = Field(default_factory=list, description=CONDITIONS_DESCRIPTION, json_schema_extra=BY_TYPE)


# Only what every status has: a default that a reconciler does not write would be written for ever.
NEW_JOB_STATUS: dict[str, Any] = {
    "phase": JobPhase.PENDING.value,
    "verdict": Verdict.PENDING.value,
    "tasks": {"total": 0, "succeeded": 0, "failed": 0},
    "conditions": [UNSEEN],
}
