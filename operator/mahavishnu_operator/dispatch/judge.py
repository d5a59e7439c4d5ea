"""What becomes of a task when an attempt of it ends: pure decisions.

What must stay true: an answer that was delivered is kept even when its job was cancelled meanwhile; a
refusal is final, because trying again cannot help; in a cancelled job nothing is tried again.
"""

from __future__ import annotations

from dataclasses import dataclass

from mahavishnu_operator.api.reasons import FailureClass
from mahavishnu_operator.api.wire import TaskResult
from mahavishnu_operator.store.records import TaskState

from .leases import GiveUp, Requeue, decide_retry


@dataclass(frozen=True, slots=True)
class Tries:
    """What a task has behind it and is allowed; `cancelled`: its job is."""

    charged: int
    lost: int
    max_attempts: int
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """The result is the task's: it ends in that state. `charged`: the attempt used up one of maxAttempts."""

    state: TaskState
    charged: bool = False


@dataclass(frozen=True, slots=True)
class Again:
    """The attempt is closed without an answer and the task waits again."""

    failure: FailureClass
    after_seconds: float


@dataclass(frozen=True, slots=True)
class Fails:
    """The attempt is closed without an answer and the task fails with these words."""

    failure: FailureClass
    reason: str
    message: str


def judge_result(result: TaskResult, tries: Tries) -> Counts | Again:
    """What a delivered result means for its task."""
    match result.status:
        case "succeeded":
            return Counts(TaskState.SUCCEEDED)
        case "refused":
            return Counts(TaskState.FAILED)
        case "cancelled" if tries.cancelled:
            return Counts(TaskState.CANCELLED)
        case "cancelled":  # the worker gave up by itself: it is on its way out
            failure = FailureClass.DISRUPTED
        case "failed" | "timed-out":
            failure = FailureClass.TOOL
    if tries.cancelled:
        return Counts(TaskState.FAILED, charged=True)
    retry = _retry(failure, tries)
    if isinstance(retry, Requeue):
        return Again(failure, retry.after_seconds)
    return Counts(TaskState.FAILED, charged=failure is FailureClass.TOOL)


def judge_loss(failure: FailureClass, tries: Tries, *, message: str) -> Counts | Again | Fails:
    """What the loss of a worker, or a lease handed back, means for the task that was held."""
    if tries.cancelled:
        return Counts(TaskState.CANCELLED)
    retry = _retry(failure, tries)
    if isinstance(retry, GiveUp):
        return Fails(failure, retry.reason, f"{retry.message}; the last time: {message}")
    return Again(failure, retry.after_seconds)


def _retry(failure: FailureClass, tries: Tries) -> Requeue | GiveUp:
    return decide_retry(failure, charged=tries.charged, lost=tries.lost, max_attempts=tries.max_attempts)
