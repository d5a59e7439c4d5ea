"""What a ScanJob says while nobody has brought its files, and when nobody did."""

from __future__ import annotations

from mahavishnu_operator.api.reasons import ConditionType, Reason
from mahavishnu_operator.control.conditions import find, is_true
from mahavishnu_operator.control.job_status import job_status
from mahavishnu_operator.control.jobs import decide_job

from .test_jobs import AWAITED, SCAN, view


def test_a_job_that_waits_for_its_files_is_accepted_and_says_what_it_waits_for() -> None:
    waiting = view(SCAN, bring=AWAITED)
    status = job_status(waiting, decide_job(waiting))
    assert is_true(status, ConditionType.ACCEPTED)
    ready = find(status, ConditionType.READY)
    assert ready is not None
    assert (ready["status"], ready["reason"]) == ("False", "ArchiveAwaited")


def test_a_job_that_times_out_without_its_files_says_who_did_not_come() -> None:
    late = view(SCAN, age=31, queueTimeoutSeconds=30, bring=AWAITED)
    ending = decide_job(late).ending
    assert ending is not None
    assert (ending.reason, "nobody has brought the archive" in ending.message) == (Reason.QUEUE_TIMED_OUT, True)
