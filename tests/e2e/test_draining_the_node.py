"""`kubectl drain` and `kubectl delete pod` on a real node: work is finished or handed back, never cut off."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator

import pytest

from mahavishnu_operator.api.reasons import Label
from mahavishnu_operator.resources.protocol import WORKER_POOL, Obj
from tests.chaos.audit import read_books
from tests.chaos.reading import sqlite_query
from tests.integration.operator_tools import OperatorProcess, condition, counts

from .operating import NODE_DEADLINE, PodSite
from .telling import PodWitness

pytestmark = pytest.mark.usefixtures("uncordoned")


@pytest.fixture
def uncordoned(operator: OperatorProcess, site: PodSite) -> Iterator[None]:
    """The node takes Pods again after the test."""
    yield
    site.cluster.kubectl("uncordon", node(site))


def node(site: PodSite) -> str:
    (only,) = site.cluster.json("get", "nodes")["items"]
    return str(only["metadata"]["name"])


def drain(site: PodSite) -> asyncio.Task[subprocess.CompletedProcess[str]]:
    """The real `kubectl drain`, of worker Pods alone: bare Pods of other tests would make it refuse."""
    options = ("--delete-emptydir-data", f"--pod-selector={Label.POOL}", f"--timeout={NODE_DEADLINE:g}s")
    arguments = ("drain", node(site), *options)
    return asyncio.create_task(
        asyncio.to_thread(site.cluster.kubectl, *arguments, check=False, timeout=NODE_DEADLINE + 60)
    )


def is_busy(pod: Obj) -> bool:
    return bool(pod["metadata"]["labels"].get(Label.BUSY) == "true")


def is_pending(pod: Obj) -> bool:
    return bool(pod["status"]["phase"] == "Pending")


async def test_a_drain_takes_the_idle_worker_and_waits_for_the_busy_one(site: PodSite, witness: PodWitness) -> None:
    await site.pool(replicas=2)
    await site.ready(2)
    await site.commands("job", witness.gated("t0"))
    await witness.until_began("t0")
    (busy,) = await site.pods.pods(1, where=is_busy)
    draining = drain(site)
    (waiting,) = await site.pods.pods(1, where=is_pending)  # in place of the idle one: there is no other node
    left = {pod["metadata"]["name"] for pod in await site.pods.pods(2)}
    assert left == {busy["metadata"]["name"], waiting["metadata"]["name"]}
    pool = await site.until(WORKER_POOL, "local", lambda s: condition(s, "Unschedulable")[0] == "True")
    assert pool["status"]["ready"] == 1
    assert not draining.done()

    witness.open("t0")
    done = await draining
    assert (done.returncode, counts(await site.ended("job"))) == (0, {"total": 1, "succeeded": 1}), done.stderr
    assert "disruption budget" in done.stderr
    assert witness.times_begun("t0") == 1


async def test_a_drain_comes_to_its_end_while_the_queue_never_does(site: PodSite, witness: PodWitness) -> None:
    await site.pool(replicas=2)
    await site.ready(2)
    tasks = [f"t{number}" for number in range(30)]
    await site.commands("job", *(witness.command(task, seconds=0.5) for task in tasks))
    await witness.until_began("t3")
    done = await drain(site)
    assert done.returncode == 0, done.stderr
    assert counts((await site.job("job"))["status"])["queued"] > 0

    site.cluster.kubectl("uncordon", node(site))
    assert counts(await site.ended("job")) == {"total": 30, "succeeded": 30}
    assert all(witness.times_begun(task) == 1 for task in tasks)


async def test_the_pool_is_whole_again_when_the_node_is_uncordoned(site: PodSite) -> None:
    await site.pool(replicas=2)
    await site.ready(2)
    assert (await drain(site)).returncode == 0
    await site.pods.pods(2, where=is_pending)
    site.cluster.kubectl("uncordon", node(site))
    await site.ready(2)


async def test_a_busy_pod_that_is_deleted_finishes_within_its_grace(site: PodSite, witness: PodWitness) -> None:
    await site.pool(drain={"graceSeconds": 300})
    await site.commands("job", witness.gated("t0"))
    await witness.until_began("t0")
    (pod,) = await site.pods.pods(1)
    name = pod["metadata"]["name"]
    site.kubectl("delete", "pod", name, "--wait=false")
    await site.pods.pods(1, where=lambda p: p["metadata"]["name"] != name and not is_pending(p))
    witness.open("t0")
    assert counts(await site.ended("job")) == {"total": 1, "succeeded": 1}
    assert witness.times_begun("t0") == 1


async def test_a_busy_pod_that_is_deleted_without_grace_hands_its_task_back_for_free(
    site: PodSite, witness: PodWitness, operator: OperatorProcess
) -> None:
    await site.pool(drain={"graceSeconds": 0})
    await site.commands("handed-back", witness.gated("t0"), maxAttempts=1)
    await witness.until_began("t0")
    site.kubectl("delete", "pod", "--all", "--wait=false")
    await witness.until_began("t0", times=2)
    witness.open("t0")
    assert counts(await site.ended("handed-back")) == {"total": 1, "succeeded": 1, "retried": 1}
    books = read_books(sqlite_query(operator.folder / "data" / "engine.db"), "handed-back")
    assert [attempt.failure for attempt in books.attempts] == ["disrupted", None]
    assert books.tasks[0].charged == 0
