"""WorkerPools on a real API server: scaled, edited, suspended, deleted, and quiet when there is nothing to do."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import psutil
import pytest

from mahavishnu_operator.resources.protocol import WORKER_POOL
from tests.cluster.client import KubectlError

from .operator_tools import (
    GATED,
    POOL,
    OperatorProcess,
    Site,
    condition,
    counts,
    poll,
    python,
    written,
)

pytestmark = pytest.mark.usefixtures("operator")


def agents(operator: OperatorProcess, site: Site) -> list[psutil.Process]:
    """The worker agents of this namespace; each works in a folder that names it."""
    found = []
    for child in psutil.Process(operator.process.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended meanwhile
            if f"/{site.namespace}/" in child.cwd():
                found.append(child)
    return found


async def test_a_pool_is_scaled_by_kubectl(site: Site) -> None:
    await site.pool()
    await site.ready(1)
    site.kubectl("scale", "wp", POOL, "--replicas=3")
    status = (await site.ready(3))["status"]
    assert condition(status, "Ready") == ("True", "WorkersReady")
    assert (status["lastScale"]["from"], status["lastScale"]["to"]) == (1, 3)
    assert status["selector"] == f"mahavishnu.dev/pool={POOL}"
    site.kubectl("scale", "wp", POOL, "--replicas=0")
    status = (await site.ready(0))["status"]
    assert condition(status, "Ready") == ("True", "ScaledToZero")


async def test_the_wanted_number_stays_within_the_bounds(site: Site) -> None:
    await site.pool(minWorkers=1, maxWorkers=2)
    site.kubectl("scale", "wp", POOL, "--replicas=9")
    await site.ready(2)
    site.kubectl("scale", "wp", POOL, "--replicas=0")
    await site.ready(1)


async def test_a_busy_worker_finishes_before_it_is_scaled_away(site: Site, root: Path) -> None:
    began, gate = root / "scaled-began", root / "scaled-gate"
    await site.pool()
    await site.commands("job", python(GATED, began, gate))
    await written(began)
    site.kubectl("scale", "wp", POOL, "--replicas=0")
    blocked = await site.until(WORKER_POOL, POOL, lambda s: condition(s, "ScaleDownBlocked")[0] == "True")
    assert condition(blocked["status"], "ScaleDownBlocked")[1] == "WorkersBusy"
    gate.touch()
    assert counts(await site.ended("job")) == {"total": 1, "succeeded": 1}
    await site.ready(0)
    assert began.read_text() == "began\n"


async def test_an_edit_replaces_idle_workers_at_once_and_a_busy_one_after_its_task(site: Site, root: Path) -> None:
    began, gate, pids = root / "edited-began", root / "edited-gate", root / "edited-pids"
    record = "import os, sys; open(sys.argv[1], 'a').write(f'{os.getppid()}\\n')"
    await site.pool()
    await site.commands("first", python(record, pids))
    await site.ended("first")
    await site.commands("job", python(GATED, began, gate))
    await written(began)
    site.kubectl("patch", "wp", POOL, "--type=merge", "-p", '{"spec":{"slotsPerWorker":2}}')
    await site.until(WORKER_POOL, POOL, lambda s: s.get("observedGeneration") == 2)
    gate.touch()
    assert counts(await site.ended("job")) == {"total": 1, "succeeded": 1}
    await site.ready(1)
    await site.commands("second", python(record, pids))
    await site.ended("second")
    before, after = pids.read_text().split()
    assert before != after
    assert began.read_text() == "began\n"


async def test_a_worker_that_is_killed_is_replaced_and_its_task_runs_again(
    site: Site, root: Path, operator: OperatorProcess
) -> None:
    began, gate = root / "killed-began", root / "killed-gate"
    await site.pool()
    await site.ready(1)
    pool = await site.resources.get(WORKER_POOL, site.key(POOL))
    (worker,) = agents(operator, site)
    await site.commands("job", python(GATED, began, gate))
    await written(began)
    os.kill(worker.pid, signal.SIGKILL)
    gate.touch()
    status = await site.ended("job")
    assert counts(status) == {"total": 1, "succeeded": 1, "retried": 1}
    assert began.read_text() == "began\nbegan\n"
    await site.until_event(pool, "Warning", "WorkerFailed")


async def test_a_suspended_pool_has_no_workers_until_it_is_resumed(site: Site) -> None:
    await site.pool()
    await site.ready(1)
    site.kubectl("patch", "wp", POOL, "--type=merge", "-p", '{"spec":{"suspend":true}}')
    status = (await site.ready(0))["status"]
    assert condition(status, "Ready") == ("True", "PoolSuspended")
    site.kubectl("patch", "wp", POOL, "--type=merge", "-p", '{"spec":{"suspend":false}}')
    await site.ready(1)


async def test_deleting_a_pool_stops_its_workers(site: Site, operator: OperatorProcess) -> None:
    await site.pool(replicas=2)
    await site.ready(2)
    workers = agents(operator, site)
    assert len(workers) == 2
    site.kubectl("delete", "wp", POOL, "--timeout=10s")
    await poll(lambda: not any(worker.is_running() for worker in workers))


async def test_a_backend_that_is_switched_off_is_refused(site: Site) -> None:
    await site.pool(backend="kubernetes", kubernetes={"image": "example.dev/worker:1"})
    pool = await site.until(WORKER_POOL, POOL, lambda s: condition(s, "Accepted")[0] == "False")
    assert condition(pool["status"], "Accepted") == ("False", "BackendDisabled")
    assert condition(pool["status"], "Stalled")[0] == "True"
    assert pool["status"]["replicas"] == 0


async def test_twenty_idle_pools_are_not_written_to(site: Site) -> None:
    for number in range(20):
        await site.pool(f"pool-{number}", replicas=1 if number == 0 else 0)
    await site.ready(1, "pool-0")
    for number in range(20):
        name = f"pool-{number}"
        await site.until(WORKER_POOL, name, lambda s: condition(s, "Reconciling")[0] == "False")
    assert await site.written_within(10.0, WORKER_POOL) == []


async def test_the_operator_leaves_no_trace_but_status(site: Site) -> None:
    await site.pool()
    await site.ready(1)
    meta = (await site.resources.get(WORKER_POOL, site.key(POOL)))["metadata"]
    assert "finalizers" not in meta
    assert "annotations" not in meta
    ours = [entry for entry in meta["managedFields"] if "manager" in entry and entry.get("subresource") == "status"]
    assert {next(iter(entry["fieldsV1"])) for entry in ours} == {"f:status"}
    assert len(meta["managedFields"]) == len(ours) + 1  # the other one is who made it


async def test_an_invalid_pool_is_refused_by_the_server_in_words(site: Site) -> None:
    bad = '{"apiVersion":"mahavishnu.dev/v1alpha1","kind":"WorkerPool","metadata":{"name":"bad"},'
    with pytest.raises(KubectlError, match="minWorkers"):
        site.kubectl(
            "apply", "-f", "-", input=bad + '"spec":{"backend":"local-process","minWorkers":5,"maxWorkers":1}}'
        )
