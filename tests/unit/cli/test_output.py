from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from mahavishnu_operator.api.crd import crd
from mahavishnu_operator.cli.describing import describe_object
from mahavishnu_operator.cli.output import OutputFormat, Outputs, age, as_table, dump, object_table
from mahavishnu_operator.resources.protocol import SCAN_JOB, WORKER_POOL
from mahavishnu_operator.support.text import printable

NOW = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)


def job(**status: Any) -> dict[str, Any]:
    meta = {"name": "j", "namespace": "team", "creationTimestamp": "2026-01-02T11:59:00Z"}
    return {
        "apiVersion": "mahavishnu.dev/v1alpha1",
        "kind": "ScanJob",
        "metadata": meta,
        "spec": {"scan": {}},
        "status": status,
    }


@pytest.mark.parametrize(
    ("since", "shown"),
    [
        ("2026-01-02T11:59:15Z", "45s"),
        ("2026-01-02T11:30:00Z", "30m"),
        ("2026-01-02T02:00:00Z", "10h"),
        ("2025-12-20T12:00:00Z", "13d"),
        ("2026-01-02T12:00:09Z", "0s"),
        ("never", "<unknown>"),
    ],
)
def test_age_is_shown_in_one_unit(since: str, shown: str) -> None:
    assert age(since, now=NOW) == shown


def test_columns_line_up() -> None:
    assert as_table(["A", "BB"], [["xxx", "y"]]) == "A     BB\nxxx   y"


def test_control_characters_are_shown_not_sent() -> None:
    assert printable("a\x1b[31m\nb\udcff") == "a\\x1b[31m\\nb\\udcff"


def test_a_job_without_status_has_no_empty_cell() -> None:
    row = object_table(SCAN_JOB, [job()], all_namespaces=True).splitlines()[1].split()
    assert row[:6] == ["team", "j", "Pending", "Pending", "0/0", "-"]


def test_done_counts_every_task_that_has_ended() -> None:
    tasks = {"total": 9, "succeeded": 2, "failed": 1, "cached": 3, "cancelled": 1}
    assert "7/9" in object_table(SCAN_JOB, [job(tasks=tasks)], all_namespaces=False)


@pytest.mark.parametrize(("ready", "reason"), [("False", "CrashLoop"), ("True", "WorkersReady")])
def test_a_pool_shows_what_kubectl_shows_of_it(ready: str, reason: str) -> None:
    condition = {"type": "Ready", "status": ready, "reason": reason}
    status = {"conditions": [condition], "ready": 1, "busy": 2, "pendingTasks": 4}
    pool = {"metadata": {"name": "p"}, "spec": {"backend": "local-process", "replicas": 3}, "status": status}
    head, row = (line.split() for line in object_table(WORKER_POOL, [pool], all_namespaces=False).splitlines())
    columns = [
        column["name"].upper() for column in crd("WorkerPool")["spec"]["versions"][0]["additionalPrinterColumns"]
    ]
    assert head == ["NAME", *columns]
    assert row[:-1] == ["p", "local-process", "3", "1", "2", "4", reason]


def test_json_and_yaml_hold_the_same_value() -> None:
    value = {"a": [1, {"b": "ü"}]}
    assert json.loads(dump(value, OutputFormat.JSON)) == yaml.safe_load(dump(value, OutputFormat.YAML)) == value


def test_a_description_shows_conditions_and_events_in_words() -> None:
    condition = {"type": "Ready", "status": "True", "reason": "Completed", "lastTransitionTime": "2026-01-02T11:59:00Z"}
    event = {
        "type": "Normal",
        "reason": "Planned",
        "lastTimestamp": "2026-01-02T11:59:00Z",
        "count": 2,
        "message": "4 tasks",
    }
    page = describe_object(job(phase="Succeeded", conditions=[condition]), [event])
    assert "phase: Succeeded" in page
    assert "Completed" in page
    assert "4 tasks" in page


def test_a_heading_is_a_line_of_its_own_whatever_the_task_before_it_wrote(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    outputs = Outputs()
    for heading, page in (("a", b"[\n"), ("", b"]"), ("b", b"\xff\n"), ("c", b"x")):
        outputs.write(page, heading=heading)
    assert capfdbinary.readouterr().out == b"==> a <==\n[\n]\n==> b <==\n\xff\n==> c <==\nx"
