"""What a refused author reads, and what embedded validation does besides refusing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mahavishnu_operator.api.validation import Refused, admit
from tests.manifest_cases import Manifest, job, k8s, pool, scan, task
from tests.manifest_mutations import mutants


def refusal(manifest: Manifest, **options: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        admit(manifest["kind"], manifest, **options)
    return caught.value


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (pool(replicas="3"), 'spec.replicas: is "3"; a whole number is needed: without quotes'),
        (pool(replicas=1001), "spec.replicas: is 1001; the greatest allowed is 1000"),
        (pool(backend="docker"), 'spec.backend: is "docker"; allowed is local-process or kubernetes or session-buddy'),
        (pool(backend=...), "spec.backend: is missing; it is required (Who starts the workers)"),
        (pool(minWorker=1), "spec.minWorker: is not a field of WorkerPool; did you mean minWorkers?"),
        (k8s(env=[{"nam": "A"}]), "spec.kubernetes.env[0].nam: is not a field of WorkerPool; did you mean name?"),
        (pool(workerClass="Fast"), "small letters, digits, '-' and '.', beginning and ending with a letter or digit"),
        (pool(minWorkers=11), "spec.minWorkers: minWorkers must be at most maxWorkers; it is 11"),
        (pool(minWorkers=2.0), "a whole number is written 3, not 3.0"),
        (pool(retireWorkers=["a", "a"]), 'spec.retireWorkers[1]: repeats "a"; each may be there once'),
        (task(command=["sleep", 1]), "spec.tasks[0].command[1]: is 1; a text is needed: put it into quotes"),
        (task(prompt="x" * 16_385), "spec.tasks[0].prompt: has 16385 characters; at most 16384 are allowed"),
    ],
)
def test_a_refusal_says_where_what_was_given_and_what_is_allowed(manifest: Manifest, words: str) -> None:
    assert words in str(refusal(manifest))


@pytest.mark.parametrize(
    "url", ["https://me:hunter2@h/r", "https://hunter2@h/r", "ssh://me:hunter2@h/r", "x://a:hunter2/b@h"]
)
def test_a_password_in_an_address_is_not_repeated(url: str) -> None:
    said = str(refusal(scan({"git": {"url": url}})))
    assert "spec.source.git.url" in said
    assert "hunter2" not in said


def test_every_violation_is_named_at_once() -> None:
    refused = refusal(pool({"name": "Bad"}, backend="docker", replicas=-1, drain={"graceSeconds": "x"}, nonsense=1))
    fields = {violation.field for violation in refused.violations}
    assert fields == {"metadata.name", "spec.backend", "spec.replicas", "spec.drain.graceSeconds", "spec.nonsense"}
    assert refused.reason == "Invalid"


def test_a_broken_rule_is_named_beside_a_broken_field_elsewhere() -> None:
    refused = refusal(job(source={"path": "srv"}, tasks=[{"id": "A", "command": ["x"]}]))
    assert {v.field for v in refused.violations} == {"spec.source.path", "spec.tasks[0].id"}


def test_a_long_list_of_violations_is_shortened_in_words_alone() -> None:
    refused = refusal(job(tasks=[{"id": "A"} for _ in range(30)]))
    assert len(refused.violations) > 30
    assert str(refused).endswith(" more")


def test_without_strictness_unknown_fields_are_left_out_with_a_warning() -> None:
    manifest = pool({"lables": {}}, minWorker=1, drain={"grace": 1})
    admitted, warnings = admit("WorkerPool", manifest, strict=False)
    assert "minWorker" not in admitted["spec"]
    assert admitted["spec"]["drain"] == {"graceSeconds": 60}
    assert warnings == [
        f'unknown field "{path}" was left out' for path in ("spec.minWorker", "spec.drain.grace", "metadata.lables")
    ]


def test_a_new_object_is_filled_with_defaults_and_a_first_status() -> None:
    admitted, _ = admit("WorkerPool", pool(replicas=None))
    assert admitted["spec"]["replicas"] == 1
    assert admitted["spec"]["autoscaling"]["mode"] == "Off"
    (condition,) = admitted["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("Ready", "Unknown")


def test_defaults_are_not_shared_between_objects() -> None:
    first, _ = admit("WorkerPool", pool())
    first["status"]["conditions"][0]["reason"] = "Changed"
    first["spec"]["drain"]["graceSeconds"] = 1
    second, _ = admit("WorkerPool", pool())
    assert second["status"]["conditions"][0]["reason"] == "Pending"
    assert second["spec"]["drain"]["graceSeconds"] == 60


def test_a_status_is_checked_when_it_is_written() -> None:
    old, _ = admit("WorkerPool", pool())
    refused = refusal({**old, "status": {**old["status"], "ready": -1}}, old=old)
    assert [v.field for v in refused.violations] == ["status.ready"]


def test_a_status_write_is_not_filled_with_values_that_nobody_wrote() -> None:
    old, _ = admit("ScanJob", job())
    written, _ = admit("ScanJob", {**old, "status": {"phase": "Running"}}, old=old)
    assert written["status"] == {"phase": "Running"}


def test_what_was_stored_under_a_looser_schema_can_still_be_changed_elsewhere() -> None:
    old = pool(workerClass="Fast", recycle={}, allowedCommands=["Ls", 3])
    changed, _ = admit("WorkerPool", {**old, "spec": {**old["spec"], "suspend": True}}, old=old)
    assert changed["spec"]["suspend"] is True
    worse = {**old, "spec": {**old["spec"], "workerClass": "Faster"}}
    assert [v.field for v in refusal(worse, old=old).violations] == ["spec.workerClass"]


def test_a_whole_number_with_a_fraction_of_zero_is_stored_whole() -> None:
    admitted, _ = admit("WorkerPool", pool(slotsPerWorker=2.0))
    assert repr(admitted["spec"]["slotsPerWorker"]) == "2"


def test_many_threads_may_ask_at_once() -> None:
    def ask(number: int) -> bool:
        minimum = 5 if number % 2 else 50
        try:
            admit("WorkerPool", pool(minWorkers=minimum, maxWorkers=10))
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        verdicts = list(threads.map(ask, range(200)))
    assert verdicts == [number % 2 == 1 for number in range(200)]


def test_no_manifest_however_odd_gets_an_answer_but_a_verdict() -> None:
    verdicts = {"taken": 0, "refused": 0}
    for case in mutants(seed=1, count=1500):
        for old in (None, pool() if case.kind == "WorkerPool" else job()):
            try:
                admit(case.kind, case.manifest, old=old)
                verdicts["taken"] += 1
            except Refused:
                verdicts["refused"] += 1
    assert min(verdicts.values()) > 100
