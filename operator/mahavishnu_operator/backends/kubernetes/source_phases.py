"""How the Job that brings the files of a ScanJob stands: a pure function from the Job and its Pod, by table.

The pressure: a Job that cannot begin says nothing of it (the scheduler, the kubelet and the quota do, each elsewhere),
and one that failed says "BackoffLimitExceeded". What must stay true: who waits and who failed says why, in the words of
whoever knows; what our own program said is in the message that its container ended with, and in nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from mahavishnu_operator.api.reasons import Label, Reason
from mahavishnu_operator.api.source_outcome import Failure, SourceOutcome
from mahavishnu_operator.resources.protocol import Obj

from .phases import observe_pod

_OUTCOME = msgspec.json.Decoder(SourceOutcome)
MAX_WORDS = 1024


class SourcePhase(StrEnum):
    """Where the Job stands."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class SourceJob:
    """One Job. `number`: which try it is; `reason` and `message`: why it waits or failed."""

    name: str
    number: int
    phase: SourcePhase
    reason: Reason = Reason.FETCHING_SOURCE
    message: str = ""
    failure: Failure = Failure.PASSES
    ended_at: float = 0.0


def observe_source_job(job: Obj, pod: Obj | None, *, refused: str = "") -> SourceJob:
    """The Job with its Pod, None where there is none; `refused`: why the API server lets none be made."""
    name, number = job["metadata"]["name"], _number(job)
    ended = {c["type"]: c for c in (job.get("status") or {}).get("conditions") or () if c.get("status") == "True"}
    if "Complete" in ended:
        ended_at = _seconds(ended["Complete"].get("lastTransitionTime"))
        words = f"Job {name} ended well, and yet its archive is not there"
        return SourceJob(name, number, SourcePhase.SUCCEEDED, Reason.SOURCE_FAILED, words, ended_at=ended_at)
    said = _said(pod)
    if "Failed" in ended:
        ended_at = _seconds(ended["Failed"].get("lastTransitionTime"))
        if said is not None:
            reason = _REASONS.get(said.reason, Reason.SOURCE_FAILED)
            return SourceJob(name, number, SourcePhase.FAILED, reason, said.message[:MAX_WORDS], said.failure, ended_at)
        words = observe_pod(pod).message if pod is not None else ""
        words = words or ": ".join(filter(None, (ended["Failed"].get("reason"), ended["Failed"].get("message"))))
        return SourceJob(
            name,
            number,
            SourcePhase.FAILED,
            Reason.SOURCE_FAILED,
            f"Job {name} failed: {words}"[:MAX_WORDS],
            ended_at=ended_at,
        )
    if pod is None:
        words = f"no Pod can be made for Job {name}: {refused}"[:MAX_WORDS] if refused else ""
        return SourceJob(
            name, number, SourcePhase.RUNNING, Reason.POD_REFUSED if refused else Reason.FETCHING_SOURCE, words
        )
    seen = observe_pod(pod)
    words = f"Job {name}: {seen.message}"[:MAX_WORDS] if seen.trouble is not None else ""
    return SourceJob(name, number, SourcePhase.RUNNING, seen.trouble or Reason.FETCHING_SOURCE, words)


_REASONS = {reason.value: reason for reason in Reason}


def _number(job: Obj) -> int:
    text = (job["metadata"].get("annotations") or {}).get(Label.TRY, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 1


def _said(pod: Obj | None) -> SourceOutcome | None:
    """What our program left when it ended: of the first container that failed."""
    for state in _terminated((pod or {}).get("status") or {}):
        try:
            if state.get("exitCode") != 0 and state.get("message"):
                return _OUTCOME.decode(state["message"])
        except msgspec.DecodeError:  # the kubelet's own words, or those of a program that is not ours
            continue
    return None


def _terminated(status: Obj) -> Iterator[dict[str, Any]]:
    containers: Sequence[Obj] = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    for container in containers:
        if state := (container.get("state") or {}).get("terminated"):
            yield state


def _seconds(text: str | None) -> float:
    return datetime.fromisoformat(text).timestamp() if text else 0.0
