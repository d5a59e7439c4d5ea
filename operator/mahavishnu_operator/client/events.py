"""What happens to pools and jobs, as events: read off the changes of their objects; pure, but for the watching.

The pressure: people and agents want to hear of work as it goes, without a message bus to run. What must stay true: an
event is the difference of two states of one object, so a watch that broke and came again repeats none and loses only
what was undone meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mahavishnu_operator.api.reasons import JobPhase
from mahavishnu_operator.resources.cache import Reflector
from mahavishnu_operator.resources.protocol import KINDS, WORKER_POOL, Key, Kind, Obj, Resources


class Happened(StrEnum):
    """What happened."""

    POOL_SPAWNED = "pool_spawned"
    POOL_SCALED = "pool_scaled"
    POOL_CLOSED = "pool_closed"
    WORKER_FAILED = "worker_failed"
    JOB_SUBMITTED = "job_submitted"
    TASK_DELEGATED = "task_delegated"
    TASK_COMPLETED = "task_completed"
    TASK_FAILED = "task_failed"
    JOB_COMPLETED = "job_completed"
    JOB_FAILED = "job_failed"
    JOB_CANCELLED = "job_cancelled"


@dataclass(frozen=True)
class Happening:
    """One event: what happened to which object. `details` are numbers and short words."""

    what: Happened
    kind: str
    key: Key
    details: dict[str, Any] = field(default_factory=dict)


_ENDS = {
    JobPhase.SUCCEEDED: Happened.JOB_COMPLETED,
    JobPhase.FAILED: Happened.JOB_FAILED,
    JobPhase.CANCELLED: Happened.JOB_CANCELLED,
}


def happenings(kind: Kind, old: Obj | None, new: Obj | None) -> Iterator[Happening]:
    """What the change of an object says; None: it was not there, or is gone."""
    found = _pool(old, new) if kind is WORKER_POOL else _job(old, new)
    here = new or old
    if here is not None:
        yield from (Happening(what, kind.kind, Key.of(here), details) for what, details in found)


def _pool(old: Obj | None, new: Obj | None) -> Iterator[tuple[Happened, dict[str, Any]]]:
    if new is None:
        yield Happened.POOL_CLOSED, {}
        return
    if old is None:
        yield Happened.POOL_SPAWNED, {}
    before, now = (old or {}).get("status") or {}, new.get("status") or {}
    scaled = now.get("lastScale")
    if scaled and scaled != before.get("lastScale"):
        yield Happened.POOL_SCALED, {name: scaled[name] for name in ("from", "to", "reason")}
    died = int(now.get("failedWorkersTotal") or 0) - int(before.get("failedWorkersTotal") or 0)
    if died > 0 and old is not None:
        yield Happened.WORKER_FAILED, {"workers": died}


def _job(old: Obj | None, new: Obj | None) -> Iterator[tuple[Happened, dict[str, Any]]]:
    if new is None:
        return  # an end was told before; a job that is deleted early has none
    if old is None:
        yield Happened.JOB_SUBMITTED, {}
    before, now = _counts(old), _counts(new)
    for what, name in (
        (Happened.TASK_DELEGATED, "begun"),
        (Happened.TASK_COMPLETED, "succeeded"),
        (Happened.TASK_FAILED, "failed"),
    ):
        if now[name] > before[name]:
            yield what, {"tasks": now[name] - before[name]}
    was, phase = (JobPhase(((obj or {}).get("status") or {}).get("phase") or JobPhase.PENDING) for obj in (old, new))
    if phase.terminal and not was.terminal:
        yield _ENDS[phase], {"verdict": (new.get("status") or {}).get("verdict", "Pending")}


def _counts(obj: Obj | None) -> dict[str, int]:
    tasks = ((obj or {}).get("status") or {}).get("tasks") or {}
    succeeded, failed = int(tasks.get("succeeded", 0)), int(tasks.get("failed", 0))
    return {"succeeded": succeeded, "failed": failed, "begun": int(tasks.get("running", 0)) + succeeded + failed}


async def watch_happenings(resources: Resources, *, namespace: str | None) -> AsyncGenerator[Happening]:
    """Events from now on, until the caller stops."""
    changed: asyncio.Queue[tuple[Kind, Key]] = asyncio.Queue()

    def tell(kind: Kind) -> Reflector:
        return Reflector(resources, kind, namespace=namespace, on_change=lambda key: changed.put_nowait((kind, key)))

    reflectors = {kind: tell(kind) for kind in KINDS}
    running = [asyncio.create_task(reflector.run()) for reflector in reflectors.values()]
    try:
        for reflector in reflectors.values():
            await reflector.synced.wait()
        seen = {(kind, key): obj for kind, each in reflectors.items() for key, obj in each.store.items()}
        while True:
            kind, key = await changed.get()
            old, new = seen.get((kind, key)), reflectors[kind].store.get(key)
            if new is None:
                seen.pop((kind, key), None)
            else:
                seen[kind, key] = new
            if old is not None and new is not None and old["metadata"]["uid"] != new["metadata"]["uid"]:
                for happening in happenings(kind, old, None):
                    yield happening
                old = None
            for happening in happenings(kind, old, new) if old is not new else ():
                yield happening
    finally:
        for task in running:
            task.cancel()
        for task in running:
            with suppress(asyncio.CancelledError):
                await task
