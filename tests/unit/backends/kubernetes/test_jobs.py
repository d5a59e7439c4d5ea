"""The Job of a worker for one task: its manifest, and what it is as a worker."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mahavishnu_operator.api.reasons import FailureClass, Reason
from mahavishnu_operator.backends.kubernetes.jobs import STARTING_SECONDS, observe_job, worker_job
from mahavishnu_operator.backends.kubernetes.settings import KubernetesSettings
from mahavishnu_operator.backends.protocol import PoolTemplate, WorkerPhase
from mahavishnu_operator.resources.protocol import Key

SETTINGS = KubernetesSettings(image="worker:1", dispatcher_url="http://dispatcher.system.svc:8681")
RUNNING: dict[str, Any] = {"running": {}}
DONE: dict[str, Any] = {"terminated": {"exitCode": 0, "reason": "Completed"}}
KILLED: dict[str, Any] = {"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-11-27T10:01:00Z"}}


def made() -> dict[str, Any]:
    spec = {"backend": "kubernetes", "isolation": "PerTask", "kubernetes": {"image": "tools:1"}}
    template = PoolTemplate(Key("team", "scans"), "u-1", slots=1, revision="abc", task_seconds=90.5, spec=spec)
    return worker_job(template, "scans-x7", SETTINGS)


def job(*conditions: str, reason: str = "", **meta: Any) -> dict[str, Any]:
    said = [{"type": type_, "status": "True", "reason": reason} for type_ in conditions]
    about = {"name": "w", "creationTimestamp": "2026-11-27T10:00:00Z", "annotations": {"mahavishnu.dev/revision": "r"}}
    return {"metadata": about | meta, "status": {"conditions": said}}


def pod(phase: str, agent: dict[str, Any], runner: dict[str, Any], *, name: str = "w-1", **meta: Any) -> dict[str, Any]:
    states = [{"name": "agent", "state": agent}, {"name": "runner", "state": runner}]
    about = {"name": name, "creationTimestamp": "2026-11-27T10:00:01Z", **meta}
    return {"metadata": about, "status": {"phase": phase, "containerStatuses": states}}


def test_a_job_tries_once_and_never_again() -> None:
    spec = made()["spec"]
    assert (spec["backoffLimit"], spec["completions"], spec["parallelism"]) == (0, 1, 1)
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_a_job_ends_and_goes_with_nobody_there() -> None:
    spec = made()["spec"]
    assert spec["activeDeadlineSeconds"] == 91 + STARTING_SECONDS
    assert spec["ttlSecondsAfterFinished"] > 0
    assert "finalizers" not in made()["metadata"]


def test_the_pool_owns_the_job_and_the_job_controller_owns_the_pod() -> None:
    (owner,) = made()["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("WorkerPool", "u-1", True)
    assert "ownerReferences" not in made()["spec"]["template"]["metadata"]


def test_its_pod_is_protected_from_the_start() -> None:
    meta = made()["spec"]["template"]["metadata"]
    assert meta["labels"]["mahavishnu.dev/busy"] == "true"
    assert meta["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    assert "mahavishnu.dev/busy" not in made()["metadata"]["labels"]


def test_its_agent_leases_one_task_in_the_name_of_the_job() -> None:
    agent, runner = made()["spec"]["template"]["spec"]["containers"]
    config = json.loads(agent["args"][1])
    assert (config["worker"], config["oneTaskSeconds"]) == ("scans-x7", 90.5)
    assert runner["image"] == "tools:1"


def test_a_job_without_a_pod_is_starting_and_says_where_to_look() -> None:
    worker = observe_job("w", job(), [])
    assert (worker.phase, worker.without_pod, worker.revision) == (WorkerPhase.STARTING, True, "r")
    assert "kubectl describe job w" in worker.message


@pytest.mark.parametrize(
    ("what", "job_", "pod_", "phase"),
    [
        ("both run", job(), pod("Running", RUNNING, RUNNING), WorkerPhase.RUNNING),
        ("the runner went first", job(), pod("Running", RUNNING, DONE), WorkerPhase.RUNNING),
        ("the agent went first", job(), pod("Running", DONE, RUNNING), WorkerPhase.RUNNING),
        ("both went", job(), pod("Succeeded", DONE, DONE), WorkerPhase.FINISHED),
        ("both went, said only by the containers", job(), pod("Running", DONE, DONE), WorkerPhase.FINISHED),
        ("the agent left in peace, the runner did not", job(), pod("Failed", DONE, KILLED), WorkerPhase.FINISHED),
        ("the Job says so", job("SuccessCriteriaMet"), pod("Running", RUNNING, RUNNING), WorkerPhase.FINISHED),
        ("the runner was killed", job(), pod("Running", RUNNING, KILLED), WorkerPhase.FAILED),
        ("the Job gave up", job("FailureTarget", reason="DeadlineExceeded"), None, WorkerPhase.FAILED),
        ("the Job is being deleted", job(deletionTimestamp="now"), None, WorkerPhase.STOPPING),
        ("its Pod is being deleted", job(), pod("Running", RUNNING, RUNNING, deletionTimestamp="x"), "stopping"),
        ("the Job has gone, its Pod finishes", None, pod("Running", RUNNING, RUNNING), WorkerPhase.STOPPING),
    ],
)
def test_a_job_and_its_pod_are_one_worker(what: str, job_: Any, pod_: Any, phase: WorkerPhase) -> None:
    assert observe_job("w", job_, [] if pod_ is None else [pod_]).phase == phase, what


def test_the_end_of_a_killed_runner_is_the_tools() -> None:
    worker = observe_job("w", job(), [pod("Running", RUNNING, KILLED)])
    assert (worker.failure, worker.ended_as) == (FailureClass.TOOL, "OOMKilled")
    assert worker.ended_at is not None


def test_an_image_that_cannot_be_pulled_is_trouble_in_the_kubelets_words() -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    worker = observe_job("w", job(), [pod("Pending", RUNNING, waiting)])
    assert (worker.phase, worker.trouble) == (WorkerPhase.STARTING, Reason.IMAGE_UNAVAILABLE)
    assert "no such image" in worker.message


def test_of_two_pods_of_one_job_the_younger_counts() -> None:
    older = pod("Failed", KILLED, KILLED, name="a", creationTimestamp="2026-11-27T09:00:00Z")
    assert observe_job("w", job(), [older, pod("Running", RUNNING, RUNNING, name="b")]).phase is WorkerPhase.RUNNING
