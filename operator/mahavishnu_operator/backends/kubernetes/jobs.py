"""The Job of a worker for one task, and what it is as a worker: pure functions.

The pressure: a Job retries, keeps what is over, and tells of its Pod late and in few words; all three are wrong for a
task that counts exactly once. What must stay true: a Job makes one Pod, once; it ends by itself when nobody looks
after it, and goes by itself when it has ended; its Pod is protected from eviction from the first moment, because it
is made for work that waits; every Job is exactly one of starting, running, stopping, failed and finished.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from mahavishnu_operator.api.reasons import Label
from mahavishnu_operator.backends.protocol import ObservedWorker, PoolTemplate, WorkerPhase
from mahavishnu_operator.resources.protocol import Obj

from .ends import complete_conditions, failed_conditions, judge_end
from .guards import NOT_SAFE_TO_EVICT
from .phases import moment, observe_pod
from .pods import AGENT, worker_pod
from .settings import KubernetesSettings

STARTING_SECONDS = 600  # beyond the task's own time-out: to be placed, to pull images, to start, to deliver
TTL_SECONDS = 300  # after its end, when no operator removes it before


def worker_job(template: PoolTemplate, name: str, settings: KubernetesSettings) -> Obj:
    """The manifest of one worker for one task."""
    pod = worker_pod(template, name, settings)
    meta = pod["metadata"]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": meta,
        "spec": {
            "backoffLimit": 0,  # what is tried again, and how often, the dispatcher says
            "completions": 1,
            "parallelism": 1,
            "activeDeadlineSeconds": math.ceil(template.task_seconds) + STARTING_SECONDS,
            "ttlSecondsAfterFinished": TTL_SECONDS,
            "template": {
                "metadata": {
                    "labels": {**meta["labels"], Label.BUSY: "true"},
                    "annotations": {**meta["annotations"], **NOT_SAFE_TO_EVICT},
                },
                "spec": pod["spec"],
            },
        },
    }


def observe_job(name: str, job: Obj | None, pods: Iterable[Obj]) -> ObservedWorker:
    """The worker that a Job and its Pod are. Without the Job, its Pod is on its way out."""
    pod = max(pods, key=lambda p: (str(p["metadata"].get("creationTimestamp")), p["metadata"]["name"]), default=None)
    seen = observe_pod(pod) if pod is not None else None
    source = job or pod
    if source is None:
        raise ValueError(f"worker {name} has neither a Job nor a Pod")
    meta = source["metadata"]
    worker = ObservedWorker(
        name=name,
        phase=WorkerPhase.STARTING if seen is None else seen.phase,
        revision=(meta.get("annotations") or {}).get(Label.REVISION, ""),
        started_at=moment(meta.get("creationTimestamp")) or 0.0,
    )
    if complete_conditions(job) or (pod is not None and _agent_left_in_peace(pod)):
        return replace(worker, phase=WorkerPhase.FINISHED)
    if failed_conditions(job) or (pod is not None and _has_failed(pod)):
        end = judge_end(job, pod)
        return replace(
            worker,
            phase=WorkerPhase.FAILED,
            message=end.message,
            failure=end.failure,
            ended_as=end.reason,
            ended_at=seen.ended_at if seen is not None else None,
        )
    if job is None or meta.get("deletionTimestamp"):
        return replace(worker, phase=WorkerPhase.STOPPING)
    if seen is None:
        return replace(worker, without_pod=True, message=f"Job {name} has no Pod: kubectl describe job {name} says why")
    if seen.phase is WorkerPhase.STARTING:
        return replace(worker, message=seen.message, trouble=seen.trouble)
    if seen.phase is WorkerPhase.FAILED:  # one container has ended well, and the other is about to
        return replace(worker, phase=WorkerPhase.RUNNING)
    return worker


def _agent_left_in_peace(pod: Obj) -> bool:
    """Whether all its containers have ended and the agent had nothing more to do; how the runner ended says nothing."""
    states = _ends(pod)
    agent = states.get(AGENT)
    return agent is not None and agent.get("exitCode") == 0 and None not in states.values()


def _has_failed(pod: Obj) -> bool:
    failed = any(state is not None and state.get("exitCode") != 0 for state in _ends(pod).values())
    return failed or (pod.get("status") or {}).get("phase") == "Failed"


def _ends(pod: Obj) -> dict[str, dict[str, Any] | None]:
    """How each container ended; None: it did not."""
    containers = (pod.get("status") or {}).get("containerStatuses") or ()
    return {each["name"]: (each.get("state") or {}).get("terminated") for each in containers}
