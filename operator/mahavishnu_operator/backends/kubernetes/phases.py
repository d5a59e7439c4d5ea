"""What a Pod is as a worker: a pure function from its status, by table.

The pressure: a Pod has a phase, conditions, and a state and a last state for each container, and those who read one
of them alone missed failures: an image that cannot be pulled is "Pending" for ever, an evicted Pod says why in its
status and not in its containers, a killed container may have taken the node with it. What must stay true: every Pod is
exactly one of starting, running, stopping and failed; whoever ended says why, in the kubelet's words.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from mahavishnu_operator.api.reasons import Label, Reason
from mahavishnu_operator.backends.protocol import ObservedWorker, WorkerPhase
from mahavishnu_operator.resources.protocol import Obj

# Why a container waits, as the kubelet says it, that does not pass by itself or soon.
STUCK_WAITING = {
    "ImagePullBackOff": Reason.IMAGE_UNAVAILABLE,
    "ErrImagePull": Reason.IMAGE_UNAVAILABLE,
    "ErrImageNeverPull": Reason.IMAGE_UNAVAILABLE,
    "InvalidImageName": Reason.IMAGE_UNAVAILABLE,
    "ImageInspectError": Reason.IMAGE_UNAVAILABLE,
    "RegistryUnavailable": Reason.IMAGE_UNAVAILABLE,
    "CreateContainerConfigError": Reason.START_FAILED,
    "CreateContainerError": Reason.START_FAILED,
    "RunContainerError": Reason.START_FAILED,
    "CrashLoopBackOff": Reason.START_FAILED,
}


def observe_pod(pod: Obj) -> ObservedWorker:
    """The worker that a Pod is."""
    meta, status = pod["metadata"], pod.get("status") or {}
    ended = next(_terminated(status), None)
    trouble, message = None, ""
    if status.get("phase") in ("Failed", "Succeeded") or ended is not None:
        phase, message = WorkerPhase.FAILED, _why_ended(status)
    elif meta.get("deletionTimestamp"):
        phase = WorkerPhase.STOPPING
    elif status.get("phase") == "Running" and all(
        "running" in (container.get("state") or {}) for container in status.get("containerStatuses") or ()
    ):
        phase = WorkerPhase.RUNNING
    else:
        phase = WorkerPhase.STARTING
        trouble, message = _why_waiting(status)
    return ObservedWorker(
        name=meta["name"],
        phase=phase,
        revision=(meta.get("annotations") or {}).get(Label.REVISION, ""),
        started_at=moment(status.get("startTime") or meta.get("creationTimestamp")) or 0.0,
        message=message,
        ended_at=moment(ended.get("finishedAt")) if ended is not None else None,
        trouble=trouble,
    )


def _containers(status: Obj) -> Iterator[Obj]:
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def _terminated(status: Obj) -> Iterator[dict[str, Any]]:
    """Containers that have ended: with restartPolicy Never, so has the worker. The one that failed comes first."""
    ended = [c["state"]["terminated"] for c in _containers(status) if "terminated" in (c.get("state") or {})]
    yield from sorted(ended, key=lambda state: (state.get("exitCode") == 0, state.get("finishedAt") or ""))


def _why_ended(status: Obj) -> str:
    """The Pod's own reason (Evicted, NodeLost, DeadlineExceeded ...), or that of each container that failed."""
    disruption = next(
        (c for c in status.get("conditions") or () if c["type"] == "DisruptionTarget" and c["status"] == "True"), None
    )
    words = [_joined(status.get("reason"), status.get("message"))]
    if disruption is not None:
        words.append(_joined(disruption.get("reason"), disruption.get("message")))
    for container in _containers(status):
        state = (container.get("state") or {}).get("terminated")
        if state is not None and state.get("exitCode") != 0:
            how = f"signal {state['signal']}" if state.get("signal") else f"exit code {state.get('exitCode')}"
            said = _joined(state.get("reason"), state.get("message"))
            words.append(f"container {container['name']} ended with {how}: {said}")
    return "; ".join(word for word in words if word) or "its containers ended by themselves"


def _why_waiting(status: Obj) -> tuple[Reason | None, str]:
    """Why a Pod has not begun; without a Reason it is what happens on the way, and may be over soon."""
    on_the_way = []
    for container in _containers(status):
        waiting = (container.get("state") or {}).get("waiting") or {}
        words = f"container {container['name']}: {_joined(waiting.get('reason'), waiting.get('message'))}"
        if waiting.get("reason") in STUCK_WAITING:
            return STUCK_WAITING[waiting["reason"]], words
        if waiting:
            on_the_way.append(words)
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return Reason.UNSCHEDULABLE, condition.get("message") or "no node takes it"
        if condition["status"] == "False" and condition.get("message"):
            on_the_way.append(f"{condition['type']} is false: {condition['message']}")
    return None, "; ".join(on_the_way)


def _joined(reason: str | None, message: str | None) -> str:
    return ": ".join(part for part in (reason, message) if part)


def moment(text: str | None) -> float | None:
    """A time of the API server in seconds since the Unix epoch."""
    return datetime.fromisoformat(text).timestamp() if text else None
