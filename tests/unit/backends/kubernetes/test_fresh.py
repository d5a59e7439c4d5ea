"""Jobs and their Pods are one worker each, in whatever order they are seen and go."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mahavishnu_operator.backends.kubernetes.fresh import FreshWorkers
from mahavishnu_operator.backends.kubernetes.settings import KubernetesSettings
from mahavishnu_operator.backends.protocol import WorkerPhase
from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from mahavishnu_operator.resources.protocol import EventType, Key, WatchEvent
from mahavishnu_operator.resources.selection import Selection

POOL, POD = Key("ns", "pool"), Key("ns", "w-1")


class Seen:
    """Workers that are fed by hand, and what they told."""

    def __init__(self) -> None:
        self.gone: list[str] = []
        resources = KubernetesResources(Connection("http://never.invalid"))
        self.workers = FreshWorkers(
            resources,
            KubernetesSettings(image="i", dispatcher_url="http://d"),
            on_change=lambda _: None,
            on_gone=lambda _pool, worker, _message: self.gone.append(worker),
            chosen=Selection(resources, ""),
        )
        self.version = 0

    def job(self, *, uid: str = "u1", there: bool = True) -> None:
        self.version += 1
        owner = {"kind": "WorkerPool", "apiVersion": "mahavishnu.dev/v1alpha1", "name": "pool", "controller": True}
        meta = {"name": "w", "namespace": "ns", "uid": uid, "resourceVersion": str(self.version)}
        job = {"metadata": {**meta, "ownerReferences": [owner], "creationTimestamp": "2026-11-27T10:00:00Z"}}
        type_ = EventType.MODIFIED if there else EventType.DELETED
        self.workers.reflectors[None].observe(WatchEvent(type_, job))

    def pod(self, *, uid: str = "u1", there: bool = True) -> None:
        owner = {"kind": "Job", "apiVersion": "batch/v1", "name": "w", "uid": uid, "controller": True}
        meta = {"name": "w-1", "namespace": "ns", "uid": "p1", "creationTimestamp": "2026-11-27T10:00:01Z"}
        pod: dict[str, Any] = {"metadata": {**meta, "ownerReferences": [owner]}, "status": {"phase": "Running"}}
        self.workers.pod_changed(POD, pod if there else None)

    def phases(self) -> dict[str, WorkerPhase]:
        return {worker.name: worker.phase for worker in self.workers.observe(POOL)}


@pytest.fixture
def seen() -> Seen:
    return Seen()


def test_a_worker_is_there_as_soon_as_its_job_is(seen: Seen) -> None:
    seen.job()
    assert seen.phases() == {"w": WorkerPhase.STARTING}


def test_a_pod_that_is_seen_before_its_job_belongs_to_it_all_the_same(seen: Seen) -> None:
    seen.pod()
    assert seen.phases() == {}
    seen.job()
    assert seen.phases() == {"w": WorkerPhase.RUNNING}


def test_a_pod_that_names_a_job_of_another_uid_is_not_its_pod(seen: Seen) -> None:
    seen.job()
    seen.pod(uid="forged")
    assert seen.phases() == {"w": WorkerPhase.STARTING}


def test_a_worker_whose_job_was_deleted_is_there_until_its_pod_has_gone(seen: Seen) -> None:
    seen.job()
    seen.pod()
    seen.job(there=False)
    assert seen.phases() == {"w": WorkerPhase.STOPPING}
    assert seen.gone == []
    seen.pod(there=False)
    assert (seen.phases(), seen.gone) == ({}, ["w"])


@given(st.lists(st.sampled_from(["job", "pod", "no job", "no pod"]), max_size=12))
def test_a_worker_exists_while_either_object_does_and_nothing_is_kept_after(events: list[str]) -> None:
    seen = Seen()
    job = pod = known = False
    for event in events:
        if event.endswith("job"):
            job = event == "job"
            seen.job(there=job)
        elif (there := event == "pod") or pod:
            pod = there
            seen.pod(there=pod)
        known = job or (known and pod)
        assert ("w" in seen.phases()) == known
    seen.job(there=False)
    if pod:
        seen.pod(there=False)
    assert not seen.workers._workers
    assert not seen.workers._by_pool
