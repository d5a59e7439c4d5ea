"""How the files of a ScanJob come to be where workers can get them: a pure decision.

The pressure: an archive is brought by a person who may never come, and a private repository by a Job that can fail in
ways that pass by themselves (a Secret that is applied a moment later, a quota) and in ways that do not (a revision that
nobody knows). What must stay true: what can pass is waited for until the job's own time-out, in words; what cannot ends
the job at once; a Job's name is never used twice while it is there; nothing is counted but the Jobs that are seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mahavishnu_operator.api.reasons import Reason
from mahavishnu_operator.api.source_outcome import Failure
from mahavishnu_operator.backends.kubernetes.source_phases import SourceJob, SourcePhase

from .acceptance import Refusal

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 5.0, 60.0
MOST_TRIES = 5  # of what may pass by itself, but need not: networks, evictions
LOOK_AGAIN_SECONDS = 5.0  # at a Job that runs: what keeps its Pod from being made is told by nobody


class Supply(StrEnum):
    """Who brings the files."""

    NONE = "none"  # there are no files, or the worker has them or fetches them by itself
    UPLOAD = "upload"  # a person
    JOB = "job"  # a Job in the ScanJob's namespace, which has what the operator must not see


def supply_of(source: Mapping[str, Any] | None) -> Supply:
    """Who brings the files of `spec.source`, as it is written in the object."""
    given = source or {}
    if given.get("archive"):
        return Supply.UPLOAD
    if given.get("persistentVolumeClaim"):
        return Supply.JOB
    git = given.get("git") or {}
    if git and (git.get("credentialsSecretRef") or not str(git.get("url", "")).startswith("https://")):
        return Supply.JOB
    return Supply.NONE


@dataclass(frozen=True, slots=True)
class Bring:
    """What is to be done about the files: nothing, because they are there (`ready`), or one of the rest.

    `start`: the number of the next Job; 0: none. `failed`: they will never come. `waiting`: what is waited for.
    """

    ready: bool = False
    start: int = 0
    failed: Refusal | None = None
    waiting: Refusal | None = None
    look_after: float | None = None


def decide_source(
    supply: Supply, *, stored: bool, jobs: Sequence[SourceJob], now: float, sha256: str = "", namespace: str = ""
) -> Bring:
    """What is to be done now. `jobs`: those of this ScanJob that are there."""
    if stored or supply is Supply.NONE:
        return Bring(ready=True)
    if supply is Supply.UPLOAD:
        words = (
            f"nobody has brought the archive {sha256} to namespace {namespace} yet; `mahavishnu scan PATH --cluster` "
            "makes one, with its ScanJob, and brings it"
        )
        return Bring(waiting=Refusal(Reason.ARCHIVE_AWAITED, words, final=False))
    if not jobs:
        return Bring(start=1)
    latest = max(jobs, key=lambda job: job.number)
    if latest.phase is SourcePhase.RUNNING:
        words = latest.message or f"Job {latest.name} fetches the files"
        return Bring(waiting=Refusal(latest.reason, words, final=False), look_after=LOOK_AGAIN_SECONDS)
    if latest.failure is Failure.FINAL:
        return Bring(failed=Refusal(latest.reason, latest.message))
    tried = sum(job.failure is not Failure.WAITS for job in jobs)
    if tried >= MOST_TRIES:
        return Bring(failed=Refusal(latest.reason, f"{latest.message} (tried {tried} times)"))
    pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(len(jobs) - 1, 10))
    left = latest.ended_at + pause - now
    if left <= 0:
        return Bring(start=latest.number + 1)
    return Bring(waiting=Refusal(latest.reason, f"{latest.message}; it is tried again", final=False), look_after=left)
