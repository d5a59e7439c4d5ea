"""ScanJobs on a real API server, done by the real operator under its own service account."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mahavishnu_operator.resources.protocol import SCAN_JOB
from tests.contract.sarif.schema import load_schema

from .operator_tools import (
    GATED,
    HANG,
    NOTE,
    POOL,
    OperatorProcess,
    Site,
    condition,
    counts,
    message,
    parse,
    poll,
    python,
    written,
)

pytestmark = pytest.mark.usefixtures("operator")

MANIFESTS = """
apiVersion: mahavishnu.dev/v1alpha1
kind: WorkerPool
metadata: {name: local}
spec: {backend: local-process, minWorkers: 0, maxWorkers: 4, replicas: 2}
---
apiVersion: mahavishnu.dev/v1alpha1
kind: ScanJob
metadata: {name: first-scan}
spec:
  poolRef: {name: local}
  source: {path: %s}
  scan: {tools: [ruff, codespell], failOn: error}
"""


@pytest.fixture
def place(root: Path, request: pytest.FixtureRequest) -> Path:
    """A folder of this test's own that jobs may read."""
    folder: Path = root / request.node.name.split("[")[0]
    folder.mkdir()
    return folder


@pytest.fixture
def sources(place: Path) -> Path:
    (place / "dirty.py").write_text("import os\nprint( undefined_name )\n")
    (place / "clean.py").write_text('"""Nothing."""\n')
    return place


def apply_and_wait(site: Site, sources: Path) -> dict[str, Any]:
    site.kubectl("apply", "-f", "-", input=MANIFESTS % sources)
    site.kubectl("wait", "--for=condition=Complete", "scanjob/first-scan", "--timeout=50s")
    status: dict[str, Any] = parse(site.kubectl("get", "sj", "first-scan", "-o", "json").encode())["status"]
    return status


async def test_a_scan_that_is_applied_completes(site: Site, sources: Path, operator: OperatorProcess) -> None:
    status = apply_and_wait(site, sources)
    assert (status["phase"], status["verdict"]) == ("Succeeded", "Failed")
    for type_ in ("Accepted", "Planned", "ResultsStored", "Complete", "Ready"):
        assert condition(status, type_)[0] == "True", type_
    tasks = counts(status)
    assert tasks["total"] == tasks["succeeded"] >= 2
    assert status["findings"]["byTool"]["ruff"] >= 2
    assert status["observedGeneration"] == 1
    report = operator.get(status["report"]["uri"])
    assert (len(report), hashlib.sha256(report).hexdigest()) == (status["report"]["bytes"], status["report"]["sha256"])
    jsonschema.validate(parse(report), load_schema())


async def test_printer_columns_are_never_empty(site: Site, sources: Path) -> None:
    apply_and_wait(site, sources)
    await site.ready(2)
    for kind in ("wp", "sj"):
        header, line = site.kubectl("get", kind).splitlines()
        assert "<none>" not in line
        assert len(line.split()) == len(header.split())


async def test_a_job_says_what_happened_in_events(site: Site, sources: Path) -> None:
    apply_and_wait(site, sources)
    job = await site.resources.get(SCAN_JOB, site.key("first-scan"))
    await site.until_event(job, "Normal", "Completed")
    events = await site.resources.events(job)
    assert {(event["type"], event["reason"]) for event in events} == {
        ("Normal", "Accepted"),
        ("Normal", "Planned"),
        ("Normal", "Completed"),
    }
    assert "all 2 tasks ran; the report is stored" in site.kubectl("describe", "sj", "first-scan")


async def test_tasks_complete_with_counts_and_results(site: Site) -> None:
    await site.pool()
    await site.commands("job", ["true"], ["echo", "hello"], ["builtin:noop"])
    status = await site.ended("job")
    assert condition(status, "Complete") == ("True", "Completed")
    assert counts(status) == {"total": 3, "succeeded": 3}
    assert [result["status"] for result in status["results"]] == ["succeeded"] * 3


async def test_a_failed_task_fails_the_job_and_warns(site: Site) -> None:
    await site.pool()
    job = await site.commands("job", ["true"], ["false"], maxAttempts=1)
    status = await site.ended("job")
    assert condition(status, "Failed") == ("True", "TasksFailed")
    assert counts(status) == {"total": 2, "succeeded": 1, "failed": 1}
    await site.until_event(job, "Warning", "Failed")


async def test_a_job_within_two_seconds_costs_at_most_two_status_writes(site: Site) -> None:
    await site.pool()
    await site.ready(1)
    job = await site.commands("job", *[["builtin:noop"]] * 50)
    writes = await site.versions(SCAN_JOB, job, until=lambda status: status.get("phase") == "Succeeded")
    assert len(writes) <= 2


async def test_a_suspended_job_starts_nothing_until_it_is_resumed(site: Site, place: Path) -> None:
    await site.pool()
    await site.commands("job", python(NOTE, place / "ran"), suspend=True)
    await site.until(SCAN_JOB, "job", lambda status: condition(status, "Suspended")[0] == "True")
    assert not (place / "ran").exists()
    site.kubectl("patch", "sj", "job", "--type=merge", "-p", '{"spec":{"suspend":false}}')
    status = await site.ended("job")
    assert condition(status, "Suspended") == ("False", "Resumed")
    assert (place / "ran").read_text() == "ran\n"


async def test_suspending_in_the_middle_lets_the_running_task_end(site: Site, place: Path) -> None:
    await site.pool()
    gated = python(GATED, place / "first", place / "gate")
    await site.commands("job", gated, python(NOTE, place / "second"))
    await written(place / "first")
    site.kubectl("patch", "sj", "job", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    await site.until(SCAN_JOB, "job", lambda status: condition(status, "Suspended")[0] == "True")
    (place / "gate").touch()
    held = await site.until(SCAN_JOB, "job", lambda status: counts(status).get("succeeded") == 1)
    assert held["status"]["tasks"]["queued"] == 1
    assert not (place / "second").exists()
    site.kubectl("patch", "sj", "job", "--type=merge", "-p", '{"spec":{"suspend":false}}')
    assert counts(await site.ended("job")) == {"total": 2, "succeeded": 2}


async def test_cancelling_keeps_what_is_done_and_ends_what_runs(site: Site, place: Path) -> None:
    await site.pool()
    await site.commands("job", ["true"], python(HANG, place / "pid"), ["true"])
    pid = await written(place / "pid")
    site.kubectl("patch", "sj", "job", "--type=merge", "-p", '{"spec":{"cancel":true}}')
    status = await site.ended("job")
    assert (status["phase"], condition(status, "Failed")) == ("Cancelled", ("True", "Cancelled"))
    assert counts(status) == {"total": 3, "succeeded": 1, "cancelled": 2}
    assert [result["id"] for result in status["results"] if result["status"] == "succeeded"] == ["t0"]
    assert not Path(f"/proc/{pid}").exists()


async def test_a_finished_job_is_deleted_after_its_time(site: Site) -> None:
    await site.pool()
    job = await site.commands("job", ["true"], ttlSecondsAfterFinished=1)
    await site.until_gone(SCAN_JOB, job)


async def test_deleting_a_job_stops_its_processes(site: Site, place: Path) -> None:
    await site.pool()
    await site.commands("job", python(HANG, place / "pid"))
    pid = await written(place / "pid")
    site.kubectl("delete", "sj", "job", "--timeout=10s")
    await poll(lambda: not Path(f"/proc/{pid}").exists())


async def test_a_job_made_anew_under_the_same_name_runs_again(site: Site, place: Path) -> None:
    await site.pool()
    for times in (1, 2):
        job = await site.commands("job", python(NOTE, place / "ran"))
        assert (await site.ended("job"))["phase"] == "Succeeded"
        assert len((place / "ran").read_text().splitlines()) == times
        await site.resources.delete(SCAN_JOB, site.key("job"), uid=job["metadata"]["uid"])


async def test_a_job_waits_for_its_pool(site: Site) -> None:
    await site.commands("job", ["true"])
    waiting = await site.until(SCAN_JOB, "job", lambda status: condition(status, "Accepted")[0] == "False")
    assert condition(waiting["status"], "Accepted") == ("False", "PoolNotFound")
    await site.pool()
    assert (await site.ended("job"))["phase"] == "Succeeded"


async def test_a_folder_outside_the_roots_is_refused(site: Site, root: Path, tmp_path: Path) -> None:
    await site.pool()
    (root / "link").symlink_to(tmp_path)
    await site.scan("plain", tmp_path, "ruff")
    await site.scan("link", root / "link", "ruff")
    for name in ("plain", "link"):
        status = await site.ended(name)
        assert condition(status, "Accepted") == ("False", "PathNotAllowed")
        assert str(tmp_path) in message(status, "Accepted")


async def test_what_is_not_done_yet_is_refused_by_name(site: Site) -> None:
    await site.pool()
    tasks = [{"id": "ask", "prompt": "tidy up"}]
    await site.commands("job", tasks=tasks)
    status = await site.ended("job")
    assert condition(status, "Accepted") == ("False", "NotImplemented")
    assert "spec.tasks[0].prompt" in message(status, "Accepted")
    assert condition(status, "Stalled")[0] == "True"


async def test_a_command_that_the_pool_does_not_allow_is_refused_by_name(site: Site) -> None:
    await site.pool(POOL, allowedCommands=["true"])
    await site.commands("job", ["rm", "-rf", "x"])
    status = await site.ended("job")
    assert condition(status, "Accepted") == ("False", "CommandNotAllowed")
    assert "'rm'" in message(status, "Accepted")
