"""What a backend must do for the pool reconciler, and nothing more.

A backend starts and stops workers and says which there are. It decides nothing: how many, and which one
goes, is `control.pools.decide`. What must stay true: `observe` tells what is there now, not what was
asked for; `start` with a name that exists already is no error; a worker's name is never used twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from mahavishnu_operator.api.reasons import FailureClass, Reason
from mahavishnu_operator.resources.protocol import Key
from mahavishnu_operator.support.errors import MahavishnuError


class BackendError(MahavishnuError):
    """The backend could not do it: message and hint say what a person can change."""

    reason = "BackendError"


class WorkerPhase(StrEnum):
    """A worker as its backend sees it; only RUNNING can count as capacity."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    FAILED = "failed"  # ended by itself, or could not start
    FINISHED = "finished"  # it was made for one task, has done it, and has ended


@dataclass(frozen=True, slots=True)
class ObservedWorker:
    """One worker that exists. `revision` is the pool template's digest it was started from."""

    name: str
    phase: WorkerPhase
    revision: str = ""
    started_at: float = 0.0  # seconds since the Unix epoch
    message: str = ""  # why it failed, or has not begun, in the backend's words
    trouble: Reason | None = None  # of a starting worker that cannot start as things are
    without_pod: bool = False  # of a starting worker for one task: its Job is there alone
    ended_at: float | None = None  # of a failed worker, when that is known
    failure: FailureClass = FailureClass.WORKER_LOST  # of a failed worker: what its end means for a task that it held
    ended_as: str = "WorkerGone"  # of a failed worker, in one CamelCase word


@dataclass(frozen=True, slots=True)
class PoolTemplate:
    """All that a backend needs to start a worker of a pool.

    `task_seconds`: it is for one task, whose time-out is that at most; 0: for as many as come.
    """

    key: Key
    uid: str
    slots: int
    revision: str
    spec: dict[str, Any] = field(default_factory=dict)  # WorkerPool.spec as stored
    task_seconds: float = 0.0


class Backend(Protocol):
    """Methods raise BackendError. All are idempotent.

    `installation`: a digest of what this installation gives every worker beside its pool's template, such as an image;
    '' when no worker outlives the operator.
    """

    name: str
    installation: str

    async def observe(self, pool: Key) -> list[ObservedWorker]:
        """The workers of a pool that exist, failed ones too until `remove`."""
        ...

    async def prepare(self, template: PoolTemplate) -> None:
        """Make what stands around a pool's workers, before the first of them; at no cost when it is there."""
        ...

    async def start(self, template: PoolTemplate, worker: str) -> None:
        """Start one worker under that name."""
        ...

    async def stop(self, pool: Key, worker: str, *, grace_seconds: float) -> None:
        """Ask a worker to finish and leave; kill what is left of it after the grace."""
        ...

    async def remove(self, pool: Key, worker: str) -> None:
        """Forget a failed worker and clean up after it."""
        ...

    async def close(self) -> None:
        """Stop every worker this process started (it cannot outlive us), or leave those that can."""
        ...
