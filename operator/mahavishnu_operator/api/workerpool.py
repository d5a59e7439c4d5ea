"""WorkerPool: named workers of one backend, between a least and a greatest number.

The spec belongs to its author: no reconciler writes it, except `replicas` through /scale.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, StrictInt, StrictStr

from .base import FILLED, SET, ApiModel, Bool, Count, LongName, Name, Namespace, Seconds, Text, Total
from .condition import BY_TYPE, CONDITIONS_DESCRIPTION, UNSEEN, Conditions
from .podtemplate import KubernetesTemplate


class Backend(StrEnum):
    """Who starts the workers."""

    LOCAL_PROCESS = "local-process"
    KUBERNETES = "kubernetes"
    SESSION_BUDDY = "session-buddy"


class WorkerType(StrEnum):
    """What a worker can run."""

    COMMAND = "command"  # argv and the scanners
    SHELL = "terminal-shell"  # a prompt is a command line, run without a shell
    QWEN = "terminal-qwen"
    CLAUDE = "terminal-claude"


class Isolation(StrEnum):
    """How far one task is kept from the next."""

    SHARED = "Shared"  # warm workers
    PER_TASK = "PerTask"  # a fresh Pod a task


class AutoscalingMode(StrEnum):
    """Who writes spec.replicas."""

    OFF = "Off"
    INTERNAL = "Internal"
    HPA = "HPA"


WorkerCount = Annotated[StrictInt, Field(ge=0, le=1000)]


class Autoscaling(ApiModel):
    """When the number of workers follows the queue."""

    mode: AutoscalingMode = Field(AutoscalingMode.OFF, description="Who writes replicas through /scale.")
    scale_up_threshold: Annotated[StrictInt, Field(ge=1, le=10_000)] = Field(
        10, description="Queued tasks for each wanted worker above which workers are added (mode Internal)."
    )
    scale_up_step: Annotated[StrictInt, Field(ge=1, le=100)] = Field(
        2,
        description="Workers added at once, ten seconds apart, never more than there are tasks for (mode Internal).",
    )
    scale_down_idle_seconds: Seconds = Field(
        300, description="Seconds without work after which a worker is removed (mode Internal)."
    )


class Drain(ApiModel):
    """How a worker is stopped."""

    grace_seconds: Annotated[StrictInt, Field(ge=0, le=86_400)] = Field(
        60, description="Seconds a stopping worker may go on with its task before it hands the lease back."
    )


class Recycle(ApiModel):
    """When a worker is replaced by a fresh one: at once when it is idle, else when it has finished what it holds."""

    max_tasks: Annotated[StrictInt, Field(ge=1, le=1_000_000)] | None = Field(
        None, description="Tasks after which a worker is replaced."
    )
    max_age_seconds: Seconds | None = Field(None, description="Age in seconds after which it is replaced.")


class LocalProcess(ApiModel):
    """Settings of backend local-process."""

    memory_limit_mib: Annotated[StrictInt, Field(ge=16, le=1_048_576)] | None = Field(
        None, alias="memoryLimitMiB", description="Resident memory in MiB above which a task is killed."
    )
    output_limit_bytes: Annotated[StrictInt, Field(ge=1024, le=1_073_741_824)] = Field(
        8_388_608, description="Bytes of stdout or of stderr after which a command task is killed."
    )


class SecretKeyRef(ApiModel):
    """A key of a Secret in the object's own namespace."""

    name: LongName = Field(description="Name of the Secret.")
    key: Annotated[StrictStr, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = Field(
        "token", description="Key within it."
    )


class SessionBuddy(ApiModel):
    """Settings of backend session-buddy."""

    url: Annotated[StrictStr, Field(min_length=1, max_length=2048, pattern=r"^https?://[^/].*$")] = Field(
        description="Address of the session-buddy server, http or https."
    )
    token_secret_ref: SecretKeyRef | None = Field(None, description="The bearer token to send; left out: none.")


class PoolMemory(ApiModel):
    """What is remembered of earlier work."""

    enabled: Bool = Field(False, description="Remember content that was scanned and found good.")
    known_good_seconds: Seconds = Field(86_400, description="Seconds a known-good entry is trusted.")
    read_from: Annotated[list[Name], Field(max_length=16)] = Field(
        default_factory=list,
        description="Names of pools in the same namespace whose memory is read as well.",
        json_schema_extra=SET,
    )


class WorkerPoolSpec(ApiModel):
    """What workers are wanted."""

    backend: Backend = Field(description="Who starts the workers.")
    worker_type: WorkerType = Field(WorkerType.COMMAND, description="What the workers can run.")
    worker_class: Name | None = Field(None, description="Routing label, such as heavy-cpu-worker.")
    min_workers: WorkerCount = Field(0, description="Least number of workers; 0 with isolation PerTask.")
    max_workers: WorkerCount = Field(
        10, description="Greatest number of workers; with isolation PerTask, of Jobs at one time."
    )
    replicas: WorkerCount = Field(
        1,
        description="Wanted workers, clamped to minWorkers..maxWorkers; written through /scale. "
        "With isolation PerTask it stays 1, without meaning: workers come and go with the tasks.",
    )
    slots_per_worker: Annotated[StrictInt, Field(ge=1, le=64)] = Field(
        1, description="Tasks one worker runs at the same time."
    )
    isolation: Isolation = Field(
        Isolation.SHARED, description="Shared: warm workers. PerTask: a fresh Pod a task, by a Job."
    )
    autoscaling: Autoscaling = Field(
        default_factory=Autoscaling,
        description="When the number of workers follows the queue.",
        json_schema_extra=FILLED,
    )
    drain: Drain = Field(default_factory=Drain, description="How a worker is stopped.", json_schema_extra=FILLED)
    recycle: Recycle | None = Field(None, description="When a worker is replaced.")
    retire_workers: Annotated[list[Name], Field(max_length=64)] = Field(
        default_factory=list,
        description="Names of workers that leave when they have finished what they hold. While one is there its place "
        "is not filled: lower replicas with it, or another worker comes when it has gone.",
        json_schema_extra=SET,
    )
    allowed_commands: Annotated[
        list[Annotated[StrictStr, Field(min_length=1, max_length=256)]], Field(max_length=64)
    ] = Field(
        default_factory=list,
        description="Names that argv[0] of a command task may have; `any` allows all. "
        "Empty: echo, false, sleep, true and the known scanners.",
        json_schema_extra=SET,
    )
    allowed_namespaces: Annotated[list[Namespace], Field(max_length=64)] = Field(
        default_factory=list,
        description="Namespaces whose ScanJobs may use the pool; empty: its own alone.",
        json_schema_extra=SET,
    )
    kubernetes: KubernetesTemplate | None = Field(None, description="The Pod of backend kubernetes.")
    local_process: LocalProcess | None = Field(None, description="Settings of backend local-process.")
    session_buddy: SessionBuddy | None = Field(None, description="Settings of backend session-buddy.")
    memory: PoolMemory | None = Field(None, description="What is remembered of earlier work.")
    suspend: Bool = Field(False, description="Want no worker while set.")


class LastScale(ApiModel):
    """The latest change of the number of wanted workers."""

    time: Text = Field(description="When, RFC 3339 in UTC.")
    from_: Annotated[Count, Field(alias="from")] = Field(description="Workers wanted before.")
    to: Count = Field(description="Workers wanted since.")
    reason: Text = Field(description="Why, in one CamelCase word.")


class WorkerPoolStatus(ApiModel):
    """What workers there are."""

    observed_generation: Total | None = Field(None, description="The metadata.generation that this status is about.")
    replicas: Count = Field(0, description="Workers that exist and have not failed; read through /scale.")
    selector: Text = Field("", description="Label selector of the workers; read through /scale.")
    ready: Count = Field(0, description="Workers that can take a task now.")
    idle: Count = Field(0, description="Ready workers without a task.")
    busy: Count = Field(0, description="Workers with at least one task.")
    draining: Count = Field(0, description="Workers that finish their tasks and then stop.")
    failed: Count = Field(0, description="Workers that died or do not answer.")
    failed_workers_total: Total | None = Field(
        None, description="Workers that died, or were ended because they did not answer, since the pool was made."
    )
    workers: Annotated[list[Name], Field(max_length=64)] = Field(
        default_factory=list,
        description="Names of workers that are ready, the first 64 in order: what spec.retireWorkers and "
        "routing.workerName of a ScanJob can name. Empty with isolation PerTask.",
    )
    pending_tasks: Count = Field(0, description="Tasks waiting for a worker of this pool.")
    running_tasks: Count = Field(0, description="Tasks leased to workers of this pool.")
    completed_total: Total = Field(0, description="Tasks that ended well since the pool was made.")
    failed_total: Total = Field(0, description="Tasks that ended badly since the pool was made.")
    idle_since: Text | None = Field(None, description="Since when the pool has had no task, RFC 3339 in UTC.")
    last_scale: LastScale | None = Field(None, description="The latest change of the number of wanted workers.")
    conditions: Conditions = Field(default_factory=list, description=CONDITIONS_DESCRIPTION, json_schema_extra=BY_TYPE)


# Only what every status has: a default that a reconciler does not write would be written for ever.
NEW_POOL_STATUS: dict[str, Any] = {
    "replicas": 0,
    "ready": 0,
    "busy": 0,
    "pendingTasks": 0,
    "conditions": [UNSEEN],
}
