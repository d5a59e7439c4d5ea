"""What the end of a worker for one task means for that task: a pure function of its Job and Pod, by table.

The pressure: the cluster ends Pods for reasons that have nothing to do with what runs in them, and tells of each in a
place of its own: a condition of the Pod, the Pod's reason, a condition of the Job, the state of a container. Taken for
failures of the tool they use up the tries of an innocent task; taken for bad luck, a task that eats all memory goes
round for ever. What must stay true: only what the tool itself did is of class `tool`; the more particular witness is
heard first; a word that is in no table is a lost worker.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mahavishnu_operator.api.reasons import FailureClass
from mahavishnu_operator.resources.protocol import Obj

TOOL, LOST, DISRUPTED = FailureClass.TOOL, FailureClass.WORKER_LOST, FailureClass.DISRUPTED

# Reasons of the Pod's condition DisruptionTarget: who ended it.
OF_DISRUPTIONS: Mapping[str, FailureClass] = {
    "PreemptionByScheduler": DISRUPTED,
    "DeletionByTaintManager": DISRUPTED,
    "EvictionByEvictionAPI": DISRUPTED,
    "TerminationByKubelet": DISRUPTED,  # the node was short of something, shuts down, or needs it for a critical Pod
    "DeletionByPodGC": LOST,  # its node is gone
}
# status.reason of a Pod.
OF_PODS: Mapping[str, FailureClass] = {
    "Evicted": DISRUPTED,
    "Preempting": DISRUPTED,
    "Terminated": DISRUPTED,  # a graceful shutdown of its node
    "NodeShutdown": DISRUPTED,
    "Shutdown": DISRUPTED,
    "NodeLost": LOST,
    "NodeAffinity": DISRUPTED,  # the node refused it when it came
    "OutOfcpu": DISRUPTED,
    "OutOfmemory": DISRUPTED,
    "OutOfpods": DISRUPTED,
    "OutOfephemeral-storage": DISRUPTED,
    "UnexpectedAdmissionError": DISRUPTED,
    "DeadlineExceeded": TOOL,
}
# Reasons of the Job's conditions Failed and FailureTarget; BackoffLimitExceeded only says that its Pod failed.
OF_JOBS: Mapping[str, FailureClass] = {
    "DeadlineExceeded": TOOL,
    "PodFailurePolicy": LOST,
    "FailedIndexes": LOST,
    "MaxFailedIndexesExceeded": LOST,
}
# Why a container ended, by its name and the kubelet's reason.
OF_CONTAINERS: Mapping[tuple[str, str], FailureClass] = {
    ("runner", "OOMKilled"): TOOL,  # what runs there is the tool
    ("agent", "OOMKilled"): LOST,
    ("runner", "Error"): LOST,
    ("agent", "Error"): LOST,
    ("runner", "StartError"): LOST,
    ("agent", "StartError"): LOST,
    ("runner", "ContainerCannotRun"): LOST,
    ("agent", "ContainerCannotRun"): LOST,
    ("runner", "ContainerStatusUnknown"): LOST,  # its node was away
    ("agent", "ContainerStatusUnknown"): LOST,
}
REASONS = {"DeadlineExceeded": "TimedOut"}  # what people know it as


@dataclass(frozen=True, slots=True)
class End:
    """What an end means for the task that was held, the witness's word, and all that was said, for people."""

    failure: FailureClass
    reason: str
    message: str


def judge_end(job: Obj | None, pod: Obj | None) -> End:
    """The end of a worker that failed."""
    status = (pod or {}).get("status") or {}
    heard = [
        *_disruptions(status),
        *_job_conditions(job),
        *_pod_reason(status),
        *_containers(status),
    ]
    words = "; ".join(said for _, _, said in heard if said)
    for failure, reason, _ in heard:
        if failure is not None:
            return End(failure, REASONS.get(reason, reason), words)
    return End(LOST, "WorkerGone", words or ("its Pod has gone" if pod is None else "its containers ended"))


# Each witness tells (class, word, what it says), class None when its word is in no table.
_Testimony = tuple[FailureClass | None, str, str]


def _disruptions(status: Obj) -> Iterator[_Testimony]:
    for condition in status.get("conditions") or ():
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            reason = condition.get("reason") or ""
            yield OF_DISRUPTIONS.get(reason, DISRUPTED), reason or "Disrupted", _joined(reason, condition)


def _job_conditions(job: Obj | None) -> Iterator[_Testimony]:
    for condition in failed_conditions(job):
        reason = condition.get("reason") or ""
        yield OF_JOBS.get(reason), reason, _joined(reason, condition)
        return


def failed_conditions(job: Obj | None) -> list[Obj]:
    """The conditions by which a Job says that it has failed, or is about to."""
    return _true_conditions(job, ("Failed", "FailureTarget"))


def complete_conditions(job: Obj | None) -> list[Obj]:
    """The conditions by which a Job says that it has succeeded, or is about to."""
    return _true_conditions(job, ("Complete", "SuccessCriteriaMet"))


def _true_conditions(job: Obj | None, types: tuple[str, ...]) -> list[Obj]:
    conditions = ((job or {}).get("status") or {}).get("conditions") or ()
    return [c for c in conditions if c["type"] in types and c["status"] == "True"]


def _pod_reason(status: Obj) -> Iterator[_Testimony]:
    if reason := status.get("reason"):
        yield OF_PODS.get(reason), reason, _joined(reason, status)


def _containers(status: Obj) -> Iterator[_Testimony]:
    """Those that failed, the one that ended first before the one that followed it."""
    ended = [
        (each["name"], state)
        for each in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
        if (state := (each.get("state") or {}).get("terminated")) is not None and state.get("exitCode") != 0
    ]

    # The runner's memory speaks before the agent's exit, which follows from it within the same second.
    def order(each: tuple[str, Obj]) -> tuple[bool, bool, str]:
        name, state = each
        return state.get("reason") != "OOMKilled", name != "runner", state.get("finishedAt") or ""

    for name, state in sorted(ended, key=order):
        reason = state.get("reason") or "Error"
        how = f"signal {state['signal']}" if state.get("signal") else f"exit code {state.get('exitCode')}"
        said = f"container {name} ended with {how}: {_joined(reason, state)}"
        yield OF_CONTAINERS.get((name, reason), LOST), reason if reason != "Error" else "WorkerGone", said


def _joined(reason: str, said: Obj) -> str:
    return ": ".join(part for part in (reason, said.get("message")) if part)
