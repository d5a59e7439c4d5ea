"""The SARIF log, as plain values; tests/contract/sarif validates it against the published schema."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mahavishnu_operator.api.reasons import Level
from mahavishnu_operator.scan.model import Finding, ToolReport, Unread
from mahavishnu_operator.scan.sarif import encode_log, make_log, relative_uri

from .reports import finding, report


def only_run(*reports: ToolReport, **options: Any) -> dict[str, Any]:
    (run,) = make_log(reports, **options)["runs"]
    return dict(run)


def test_each_tool_is_one_run_whatever_its_bins() -> None:
    log = make_log(
        [report("ruff", version="9"), report("bandit"), report("ruff", version="9")], run_id="default/nightly"
    )
    drivers = [run["tool"]["driver"] for run in log["runs"]]
    assert [(driver["name"], driver["version"]) for driver in drivers] == [("bandit", "1.0"), ("ruff", "9")]
    assert drivers[1]["informationUri"] == "https://docs.astral.sh/ruff/"
    assert log["runs"][1]["automationDetails"] == {"id": "mahavishnu/ruff/default/nightly"}


def test_a_result_names_rule_level_place_and_fingerprint() -> None:
    found = Finding(
        "ruff", "F401", Level.WARNING, "unused", "a b.py", 2, 8, 2, 10, "https://example.org/F401", "f" * 32
    )
    run = only_run(report("ruff", finding(rule="E1", level=Level.NOTE), found))
    assert run["tool"]["driver"]["rules"] == [{"id": "E1"}, {"id": "F401", "helpUri": "https://example.org/F401"}]
    assert run["results"][0] == {
        "ruleId": "F401",
        "ruleIndex": 1,
        "level": "warning",
        "message": {"text": "unused"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": "a%20b.py", "uriBaseId": "SRCROOT"},
                    "region": {"startLine": 2, "startColumn": 8, "endLine": 2, "endColumn": 10},
                }
            }
        ],
        "partialFingerprints": {"mahavishnu/v1": "f" * 32},
    }


@pytest.mark.parametrize(
    ("place", "region"),
    [
        ((0, 5, 0, 0), None),
        ((3, 0, 0, 0), {"startLine": 3}),
        ((3, 4, 2, 9), {"startLine": 3, "startColumn": 4}),
        ((3, 4, 3, 2), {"startLine": 3, "startColumn": 4, "endLine": 3}),
        ((3, 4, 5, 1), {"startLine": 3, "startColumn": 4, "endLine": 5, "endColumn": 1}),
    ],
)
def test_a_region_says_only_what_is_known(place: tuple[int, int, int, int], region: dict[str, int] | None) -> None:
    run = only_run(report("ruff", Finding("ruff", "R", Level.ERROR, "m", "a.py", *place)))
    assert run["results"][0]["locations"][0]["physicalLocation"].get("region") == region


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("plain/a.py", "plain/a.py"),
        ("sp ace\n#?%.py", "sp%20ace%0A%23%3F%25.py"),
        ("ü\udce9.py", "%C3%BC%E9.py"),
        ("c:x.py", "c%3Ax.py"),
        ("-rf", "-rf"),
        ("\ud800made-up", "%3Fmade-up"),
    ],
)
def test_a_uri_carries_the_bytes_of_the_name(path: str, uri: str) -> None:
    assert relative_uri(path) == uri


def test_a_tool_that_did_not_look_says_so_in_its_invocation() -> None:
    run = only_run(report("ruff", outcome="crashed", exit_code=-9, message="ruff was killed"))
    assert run["invocations"] == [
        {
            "executionSuccessful": False,
            "exitSignalNumber": 9,
            "toolExecutionNotifications": [
                {"descriptor": {"id": "crashed"}, "level": "error", "message": {"text": "ruff was killed"}}
            ],
        }
    ]
    assert run["results"] == []


def test_a_file_that_was_not_read_is_a_notification_with_its_place() -> None:
    run = only_run(report("bandit", exit_code=1, unread=(Unread("x y.py", "syntax error"),)))
    invocation = run["invocations"][0]
    assert (invocation["executionSuccessful"], invocation["exitCode"]) == (True, 1)
    (notification,) = invocation["toolExecutionNotifications"]
    assert notification["descriptor"] == {"id": "unread-file"}
    assert notification["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "x%20y.py"


def test_files_that_the_plan_left_out_are_told_in_a_run_of_the_planner() -> None:
    log = make_log([report("ruff")], skipped=[Unread("link", "a symbolic link that leaves the scanned folder")])
    assert [run["tool"]["driver"]["name"] for run in log["runs"]] == ["ruff", "mahavishnu"]


def test_the_log_does_not_depend_on_the_order_of_reports_and_findings() -> None:
    first, second, third = finding(line=1), finding(path="b.py"), finding("bandit")
    one = make_log([report("ruff", first, second), report("bandit", third)])
    other = make_log([report("bandit", third), report("ruff", second, first)])
    assert encode_log(one) == encode_log(other)


def test_undecodable_text_leaves_as_valid_unicode() -> None:
    data, _ = encode_log(make_log([report("ruff", finding(message="bad \udcff \x1b[31m"))]))
    assert json.loads(data)["runs"][0]["results"][0]["message"]["text"] == "bad \\udcff \x1b[31m"


def test_a_help_address_that_is_none_is_left_out() -> None:
    hostile = Finding("ruff", "R", Level.ERROR, "m", "a.py", help_uri="javascript:alert(1)")
    assert only_run(report("ruff", hostile))["tool"]["driver"]["rules"] == [{"id": "R"}]


def test_a_log_that_is_too_large_keeps_the_worst_and_says_what_it_lost() -> None:
    notes = [finding(line=n, level=Level.NOTE) for n in range(1, 500)]
    log = make_log([report("ruff", *notes, finding(line=500))])
    data, truncated = encode_log(log, max_bytes=20_000)
    run = json.loads(data)["runs"][0]
    assert truncated
    assert len(data) <= 20_000
    assert run["results"][0]["level"] == "error"
    words = run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]
    assert words == f"{500 - len(run['results'])} of 500 results were left out: the report would be too large"


def test_a_log_that_fits_is_not_touched() -> None:
    log = make_log([report("ruff", finding())])
    assert encode_log(log, max_bytes=20_000) == encode_log(log)
