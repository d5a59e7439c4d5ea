"""What the watch of Pods tells the pools and the dispatcher."""

from __future__ import annotations

from typing import Any

import pytest

from mahavishnu_operator.api.reasons import Label
from mahavishnu_operator.backends.kubernetes.backend import KubernetesBackend
from mahavishnu_operator.backends.kubernetes.settings import KubernetesSettings
from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from mahavishnu_operator.resources.protocol import EventType, Key, WatchEvent

POOL = Key("ns", "pool")


class Seen:
    """A backend whose Pods are fed by hand, and what it told."""

    def __init__(self) -> None:
        self.changed: list[Key] = []
        self.marks: list[tuple[Key, str, bool]] = []
        self.backend = KubernetesBackend(
            KubernetesResources(Connection("http://never.invalid")),
            KubernetesSettings(image="i", dispatcher_url="http://d"),
            on_change=self.changed.append,
            on_exit=self.ended,
            on_cordon=lambda *_: None,
            on_mark=lambda pool, worker, busy: self.marks.append((pool, worker, busy)),
        )
        self.version = 0

    async def ended(self, pool: Key, worker: str, message: str) -> None:
        raise AssertionError(f"{worker} of {pool} ended: {message}")

    def pod(self, *, phase: str = "Running", busy: bool = False) -> None:
        self.version += 1
        owner = {"kind": "WorkerPool", "apiVersion": "mahavishnu.dev/v1alpha1", "name": "pool", "controller": True}
        meta: dict[str, Any] = {
            "name": "w-1",
            "namespace": "ns",
            "uid": "p1",
            "resourceVersion": str(self.version),
            "labels": {Label.POOL: "pool"} | ({Label.BUSY: "true"} if busy else {}),
            "ownerReferences": [owner],
        }
        pod = {"metadata": meta, "spec": {}, "status": {"phase": phase}}
        self.backend.reflectors[None].observe(WatchEvent(EventType.MODIFIED, pod))


@pytest.fixture
def seen() -> Seen:
    return Seen()


def test_a_pool_hears_of_a_pod_that_became_another_worker_and_not_of_a_mark(seen: Seen) -> None:
    seen.pod(phase="Pending")
    seen.pod()
    assert seen.changed == [POOL, POOL]
    seen.pod(busy=True)
    seen.pod()
    assert seen.changed == [POOL, POOL]


def test_each_mark_that_a_pod_shows_is_told(seen: Seen) -> None:
    seen.pod()
    seen.pod(busy=True)
    assert seen.marks == [(POOL, "w-1", False), (POOL, "w-1", True)]
