"""What each tool promises to answer, as models: names and shapes are those that published clients read.

What must stay true: a field without a default is in every success; a shape in `shapes.py` or a tool has at least what
is here, which the official clients check at every call.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

LEFT_OUT = "Bytes of it that are not in this answer; task_output reads them."


class Failure(BaseModel):
    """Whatever went wrong."""

    status: str
    success: bool
    error: str | None = Field(description="What went wrong and what to do, one sentence; null: nothing.")
    retry_after_seconds: float = Field(0, description="With status rate_limited: call again after so long.")


class PoolSpawned(BaseModel):
    """pool_spawn."""

    pool_id: str
    pool_type: str
    name: str
    status: str
    success: bool
    min_workers: int
    max_workers: int
    note: str = ""


class PoolRow(BaseModel):
    """pool_list."""

    pool_id: str
    pool_type: str
    name: str
    status: str = Field(description="pending, initializing, running, scaling, degraded, stopped or failed.")
    workers: int
    min_workers: int
    max_workers: int


class PoolMeasures(BaseModel):
    """pool_monitor."""

    status: str
    message: str
    pending_tasks: int
    running_tasks: int
    completed_tasks: int
    failed_tasks: int
    current_workers: int
    busy_workers: int
    min_workers: int
    max_workers: int
    idle_time: float
    idle_seconds: float = Field(description="Seconds since the pool last had work.")
    memory_count: int = Field(description="Answers of its workers that pool_search_memory finds.")


class PoolScaled(BaseModel):
    """pool_scale."""

    pool_id: str
    target_workers: int
    actual_workers: int
    status: str
    success: bool


class PoolClosed(BaseModel):
    """pool_close."""

    pool_id: str
    status: str
    success: bool


class PoolsClosed(BaseModel):
    """pool_close_all."""

    pools_closed: int
    status: str
    success: bool
    kept: dict[str, str] = Field({}, description="Pools of yours that are not closed, and why.")


class PoolHealth(BaseModel):
    """pool_health."""

    status: str = Field(description="healthy, degraded or unhealthy.")
    pools_active: int
    pools: list[PoolRow]


class Ran(BaseModel):
    """pool_execute and pool_route_execute."""

    pool_id: str
    worker_id: str
    task_id: str
    status: str = Field(description="completed, failed, timeout or cancelled.")
    success: bool = Field(description="Whether the exit code is 0.")
    output: str = Field(description="stdout.")
    error: str | None = Field(description="Null when it succeeded; else stderr, or why it did not run.")
    stderr: str
    reason: str
    exit_code: int | None = Field(description="The process's own; null when there was none.")
    duration: float
    timestamp: str = Field(description="When it ended, ISO 8601 in UTC.")
    output_bytes_left_out: int = Field(0, description=LEFT_OUT)
    stderr_bytes_left_out: int = Field(0, description=LEFT_OUT)
    rest: str = ""


class Page(BaseModel):
    """task_output."""

    task_id: str
    stream: str
    offset: int
    output: str
    next_offset: int


class Dispatched(BaseModel):
    """dispatch_to_pool."""

    workflow_id: str
    status: str
    success: bool
    note: str = ""


class WorkflowResult(BaseModel):
    """workflow_result."""

    workflow_id: str
    status: str = Field(description="queued, running, completed, failed or not_found.")
    result: Ran | None
    error: str | None


class ScanSubmitted(BaseModel):
    """scan_submit."""

    job_id: str
    status: str
    success: bool
    tools: list[str]


class JobRow(BaseModel):
    """scan_status, scan_wait and scan_list."""

    job_id: str
    status: str = Field(description="pending, planning, running, aggregating, succeeded, failed or cancelled.")
    verdict: str = Field(description="pending, passed, failed or incomplete.")
    pool_id: str
    tasks_total: int
    tasks_done: int
    findings: int | None
    findings_by_level: dict[str, int]
    reason: str
    message: str
    ended: bool


class ToolSeen(BaseModel):
    """One scanner in a report."""

    version: str
    outcome: str = Field(description="ok: it looked, whatever it found; else it did not look everywhere.")
    findings: int
    files: int
    message: str = ""


class FindingRow(BaseModel):
    """One finding in a report."""

    tool: str
    rule: str
    level: str
    path: str
    line: int
    message: str


class Report(JobRow):
    """scan_report, by its format."""

    tools: dict[str, ToolSeen] = {}
    worst_findings: list[FindingRow] = []
    findings_not_shown: int = 0
    sarif: dict[str, Any] = Field({}, description="SARIF 2.1.0.")
    html: str = Field("", description="A page for people, as they see it at a terminal.")


class JobCancelled(JobRow):
    """scan_cancel."""

    success: bool


class WorkersSpawned(BaseModel):
    """worker_spawn."""

    worker_ids: list[str]
    success: bool
    note: str = ""


class WorkerRan(BaseModel):
    """worker_execute and worker_collect_results."""

    worker_id: str
    status: str
    success: bool | None
    output: str
    error: str | None
    exit_code: int | None
    duration: float
    duration_seconds: float
    has_output: bool
    timestamp: str = Field(description="When it ended, or when this was asked; ISO 8601 in UTC.")
    metadata: dict[str, Any]


class Batch(BaseModel):
    """worker_execute_batch; the rows are also there under their numbers as text."""

    result: list[WorkerRan | Failure]


class WorkerRow(BaseModel):
    """worker_list."""

    worker_id: str
    worker_type: str
    status: str


class WorkerClosed(BaseModel):
    """worker_close."""

    success: bool
    worker_id: str
    status: str


class WorkersClosed(BaseModel):
    """worker_close_all."""

    closed_count: int
    success: bool


class WorkerHealth(BaseModel):
    """worker_health."""

    status: str
    workers_active: int
    max_concurrent: int
    workers: list[WorkerRow]


class ToolLine(BaseModel):
    """One tool in discover_tools."""

    name: str
    description: str


class ToolLines(BaseModel):
    """discover_tools."""

    tools: list[ToolLine]
    count: int


class Liveness(BaseModel):
    """get_liveness."""

    status: str
    alive: bool
    service: str
    version: str


class Readiness(BaseModel):
    """get_readiness."""

    status: str
    ready: bool
    service: str
    version: str


class ServiceHealth(BaseModel):
    """health_check_service."""

    service: str
    status: str
    error: str = ""


class ServiceState(BaseModel):
    """One service in health_check_all."""

    status: str
    error: str = ""


class AllHealth(BaseModel):
    """health_check_all."""

    status: str
    services: dict[str, ServiceState]


class MemoryRow(BaseModel):
    """pool_search_memory by words."""

    content: str
    metadata: dict[str, str] = Field(description="pool_id, pool_type, worker_id, task_id, timestamp; key of a note.")


class FileKnown(BaseModel):
    """pool_search_memory by tool and files."""

    status: str = Field(description="passed or failed.")
    timestamp: float = Field(description="When that was, in seconds since 1970.")
    tool: str
    findings: int | None = Field(description="In this file; null: the tool does not say for each file.")


class Stored(BaseModel):
    """pool_store_memory."""

    namespace: str
    key: str
    status: str
    success: bool
    expires_at: str
    forgotten: list[str] = Field(description="Older notes that went before their time.")


class Autofix(Failure):
    """swarm_autofix."""

    fixes_applied: int
    files_modified: list[str]


class SwarmStatus(BaseModel):
    """swarm_status."""

    status: str = Field(description="idle or running.")
    success: bool
    pools_active: int
    workers_active: int
    workers_busy: int
    pending_tasks: int
    running_tasks: int
    completed_tasks: int
    failed_tasks: int
    autofix_available: bool
