"""Who brings the files of a ScanJob, and what is done when they do not come."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mahavishnu_operator.api.reasons import Reason
from mahavishnu_operator.api.source_outcome import Failure
from mahavishnu_operator.backends.kubernetes.source_phases import SourceJob, SourcePhase
from mahavishnu_operator.control.sources import MOST_TRIES, Bring, Supply, decide_source, supply_of

NOW = 1000.0
FAILED = SourceJob("job-source-1", 1, SourcePhase.FAILED, Reason.SOURCE_FAILED, "no route", Failure.PASSES, NOW)


def decide(*jobs: SourceJob, now: float = NOW, supply: Supply = Supply.JOB, stored: bool = False) -> Bring:
    return decide_source(supply, stored=stored, jobs=jobs, now=now, sha256="0" * 64, namespace="ns")


@pytest.mark.parametrize(
    ("source", "supply"),
    [
        (None, Supply.NONE),
        ({"path": "/srv"}, Supply.NONE),
        ({"git": {"url": "https://h/x"}}, Supply.NONE),
        ({"git": {"url": "https://h/x", "credentialsSecretRef": {"name": "s"}}}, Supply.JOB),
        ({"git": {"url": "git@h:x"}}, Supply.JOB),
        ({"persistentVolumeClaim": {"claimName": "c"}}, Supply.JOB),
        ({"archive": {"sha256": "0" * 64}}, Supply.UPLOAD),
    ],
)
def test_who_brings_the_files(source: dict[str, Any] | None, supply: Supply) -> None:
    assert supply_of(source) is supply


@pytest.mark.parametrize("supply", list(Supply))
def test_what_is_there_is_not_brought(supply: Supply) -> None:
    assert decide(supply=supply, stored=True) == Bring(ready=True)


def test_an_archive_is_waited_for_without_end_and_it_is_said_what_brings_it() -> None:
    bring = decide(supply=Supply.UPLOAD)
    assert bring.waiting is not None
    assert (bring.waiting.reason, bring.waiting.final, bring.look_after) == (Reason.ARCHIVE_AWAITED, False, None)
    assert "mahavishnu scan PATH --cluster" in bring.waiting.message


def test_the_first_try_is_made_at_once() -> None:
    assert decide().start == 1


def test_a_try_that_runs_is_waited_for_with_what_keeps_it() -> None:
    running = replace(FAILED, phase=SourcePhase.RUNNING, reason=Reason.UNSCHEDULABLE, message="0/1 nodes")
    bring = decide(running)
    assert bring.waiting is not None
    assert (bring.start, bring.waiting.reason, bring.waiting.message) == (0, Reason.UNSCHEDULABLE, "0/1 nodes")


def test_what_no_try_changes_ends_it() -> None:
    bring = decide(replace(FAILED, failure=Failure.FINAL, reason=Reason.REVISION_NOT_FOUND))
    assert bring.failed is not None
    assert bring.failed.reason is Reason.REVISION_NOT_FOUND


def test_the_next_try_has_the_next_number_after_a_pause() -> None:
    assert decide(FAILED).start == 0
    assert decide(FAILED, now=NOW + 5.0).start == 2
    two = replace(FAILED, number=2)
    assert decide(FAILED, two, now=NOW + 5.0).start == 0
    assert decide(FAILED, two, now=NOW + 10.0).start == 3


def test_after_enough_tries_it_ends() -> None:
    jobs = [replace(FAILED, number=number) for number in range(1, MOST_TRIES + 1)]
    bring = decide(*jobs, now=NOW + 3600)
    assert bring.failed is not None
    assert f"tried {MOST_TRIES} times" in bring.failed.message


def test_what_a_person_must_do_is_waited_for_however_often_it_was_tried() -> None:
    waits = replace(FAILED, failure=Failure.WAITS, reason=Reason.CREDENTIALS_MISSING)
    jobs = [replace(waits, number=number) for number in range(1, 3 * MOST_TRIES)]
    assert decide(*jobs, now=NOW + 60.0).start == 3 * MOST_TRIES
    waiting = decide(*jobs).waiting
    assert waiting is not None
    assert waiting.reason is Reason.CREDENTIALS_MISSING


def test_a_job_that_ended_well_without_an_archive_is_tried_again() -> None:
    done = replace(FAILED, phase=SourcePhase.SUCCEEDED)
    assert decide(done, now=NOW + 5.0).start == 2
