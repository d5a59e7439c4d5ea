from __future__ import annotations

from typing import Any

import pytest

from mahavishnu_operator.cli.executing import code_of, summary
from mahavishnu_operator.cli.exits import ExitCode

PASSED: dict[str, Any] = {"status": "completed", "success": True, "exit_code": 0, "duration": 0.5, "worker_id": "a/w"}
FAILED = {**PASSED, "status": "failed", "success": False, "exit_code": 1}
STOPPED = {**FAILED, "status": "timeout", "exit_code": -15}
NEVER = {"status": "failed", "success": False, "error": "there is no pool"}


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([PASSED], ExitCode.OK),
        ([FAILED], ExitCode.FINDINGS),
        ([STOPPED], ExitCode.INCOMPLETE),
        ([NEVER], ExitCode.INCOMPLETE),
        ([PASSED, FAILED], ExitCode.FINDINGS),
        ([FAILED, NEVER], ExitCode.INCOMPLETE),
    ],
)
def test_a_failed_command_and_one_that_did_not_run_are_told_apart(rows: list[dict[str, Any]], code: ExitCode) -> None:
    assert code_of(rows) is code


def test_the_last_line_says_where_it_ran_or_why_it_did_not() -> None:
    assert summary({**FAILED, "task_id": "a/j"}) == "failed on a/w: exit code 1 after 0.5 s (a/j)"
    assert summary(NEVER) == "failed on no worker: there is no pool"
