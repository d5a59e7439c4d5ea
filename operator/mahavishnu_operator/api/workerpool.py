"""WorkerPool: named workers of one backend, between a least and a greatest number.

The spec belongs to its author: no reconciler writes it, except `replicas` through /scale.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, StrictInt, StrictStr

from .base import ApiModel, Bool, Count, Name, Seconds, Text


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
        10, description="Queued tasks a ready worker above which workers are added (mode Internal)."
    )
    scale_up_step: Annotated[StrictInt, Field(ge=1, le=100)] = Field(
        2, description="Workers added at once (mode Internal)."
    )
    scale_down_idle_seconds: Seconds = Field(
        300, description="Seconds without work after which workers are removed (mode Internal)."
    )


class Drain(ApiModel):
    """How a worker is stopped."""

    grace_seconds: Annotated[StrictInt, Field(ge=0, le=86_400)] = Field(
        60, description="Seconds a stopping worker may go on with its task before it hands the lease back."
    )


class Recycle(ApiModel):
    """When an idle worker is replaced by a fresh one."""

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

    name: Name
    key: Annotated[StrictStr, Field(min_length=1, max_length=253)] = "token"


class SessionBuddy(ApiModel):
    """Settings of backend session-buddy."""

    url: Annotated[StrictStr, Field(min_length=1, max_length=2048, pattern=r"^https?://")]
    token_secret_ref: SecretKeyRef | None = None


class PoolMemory(ApiModel):
    """What is remembered of earlier work."""

    enabled: Bool = Field(False, description="Remember content that was scanned and found good.")
    known_good_seconds: Seconds = Field(86_400, description="Seconds a known-good entry is trusted.")
    read_from: Annotated[list[Name], Field(max_length=16)] = Field(
        default_factory=list, description="Pools whose memory is read as well."
    )


class WorkerPoolSpec(ApiModel):
    """What workers are wanted."""

    backend: Backend = Field(description="Who starts the workers.")
    worker_type: WorkerType = Field(WorkerType.COMMAND, description="What the workers can run.")
    worker_class: Name | None = Field(None, description="Routing label, such as heavy-cpu-worker.")
    min_workers: WorkerCount = Field(0, description="Least number of workers.")
    max_workers: WorkerCount = Field(10, description="Greatest number of workers.")
    replicas: WorkerCount = Field(
        1, description="Wanted workers, clamped to minWorkers..maxWorkers; written through /scale."
    )
    slots_per_worker: Annotated[StrictInt, Field(ge=1, le=64)] = Field(
        1, description="Tasks one worker runs at the same time."
    )
    isolation: Isolation = Field(Isolation.SHARED, description="Warm workers, or a fresh Pod a task.")
    autoscaling: Autoscaling = Field(
        default_factory=Autoscaling, description="When the number of workers follows the queue."
    )
    drain: Drain = Field(default_factory=Drain, description="How a worker is stopped.")
    recycle: Recycle | None = Field(None, description="When an idle worker is replaced.")
    retire_workers: Annotated[list[Name], Field(max_length=64)] = Field(
        default_factory=list, description="Workers to drain and not to replace."
    )
    allowed_commands: Annotated[
        list[Annotated[StrictStr, Field(min_length=1, max_length=256)]], Field(max_length=64)
    ] = Field(
        default_factory=list,
        description="Names that argv[0] of a command task may have; `any` allows all. "
        "Empty: echo, false, sleep, true and the known scanners.",
    )
    allowed_namespaces: Annotated[list[Name], Field(max_length=64)] = Field(
        default_factory=list, description="Namespaces whose ScanJobs may use the pool; empty: its own alone."
    )
    kubernetes: KubernetesTemplate | None = Field(None, description="The Pod of backend kubernetes.")
    local_process: LocalProcess | None = Field(None, description="Settings of backend local-process.")
    session_buddy: SessionBuddy | None = Field(None, description="Settings of backend session-buddy.")
    memory: PoolMemory | None = Field(None, description="What is remembered of earlier work.")
    suspend: Bool = Field(False, description="Want no worker while set.")


class Condition(ApiModel):
    """One entry of status.conditions (meta/v1 Condition)."""

    type: Annotated[StrictStr, Field(max_length=316)]
    status: Annotated[StrictStr, Field(pattern="^(True|False|Unknown)$", max_length=7)]
    reason: Annotated[StrictStr, Field(max_length=1024)]
    message: Annotated[StrictStr, Field(max_length=32_768)] = ""
    last_transition_time: Annotated[StrictStr, Field(max_length=64)]
    observed_generation: Annotated[StrictInt, Field(ge=0)] | None = None


class LastScale(ApiModel):
    """The latest change of the number of workers."""

    time: Text
    from_: Annotated[Count, Field(alias="from")]
    to: Count
    reason: Text


class WorkerPoolStatus(ApiModel):
    """What workers there are."""

    observed_generation: Annotated[StrictInt, Field(ge=0)] | None = None
    replicas: Count = 0
    selector: Text = ""
    ready: Count = 0
    idle: Count = 0
    busy: Count = 0
    draining: Count = 0
    failed: Count = 0
    pending_tasks: Count = 0
    running_tasks: Count = 0
    completed_total: Annotated[StrictInt, Field(ge=0)] = 0
    failed_total: Annotated[StrictInt, Field(ge=0)] = 0
    idle_since: Text | None = None
    last_scale: LastScale | None = None
    conditions: Annotated[list[Condition], Field(max_length=32)] = Field(default_factory=list)


class KubernetesTemplate(ApiModel):
    """A curated Pod template: what a worker Pod may be given, and nothing else."""

    image: Annotated[StrictStr, Field(min_length=1, max_length=1024)] | None = None
    resources: dict[str, Any] | None = None
    env: Annotated[list[dict[str, Any]], Field(max_length=64)] | None = None
    env_from: Annotated[list[dict[str, Any]], Field(max_length=16)] | None = None
    node_selector: dict[str, Text] | None = None
    tolerations: Annotated[list[dict[str, Any]], Field(max_length=32)] | None = None
    affinity: dict[str, Any] | None = None
    priority_class_name: Name | None = None
    image_pull_secrets: Annotated[list[dict[str, Any]], Field(max_length=16)] | None = None
    runtime_class_name: Name | None = None
    network_policy: Annotated[StrictStr, Field(pattern="^(Managed|Unmanaged)$", max_length=9)] = "Managed"


WorkerPoolSpec.model_rebuild()
