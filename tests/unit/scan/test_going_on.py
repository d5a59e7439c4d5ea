"""Which files a tool is given again after it stopped at one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from mahavishnu_operator.scan.model import ToolReport, Unread
from mahavishnu_operator.scan.tools import going_on
from mahavishnu_operator.scan.tools.mypy import Mypy
from mahavishnu_operator.scan.tools.protocol import ToolOutput
from mahavishnu_operator.scan.tools.ruff import Ruff
from mahavishnu_operator.scan.tools.vulture import Vulture

ROOT = Path("/nonexistent")
FILES = ("a.py", "b.py", "c.py")


def vulture_misses(*names: str) -> ToolOutput:
    lines = "".join(f"Error: {ROOT}/{name} could not be found.\n" for name in names)
    return ToolOutput(1, b"", lines.encode(), 0.25)


def run_all(outputs: Sequence[ToolOutput]) -> ToolReport:
    """What comes of these outputs of vulture, one a run."""
    run = going_on.Run(FILES)
    for output in outputs:
        blockers = going_on.blockers(Vulture(), run, output, root=ROOT)
        if not blockers:
            return going_on.report_of(Vulture(), run, output, root=ROOT, version="1")
        run = run.after(output, blockers)
    return going_on.nothing_left(Vulture(), run, version="1")


def test_a_file_that_stopped_the_tool_is_unread_in_a_report_of_the_others() -> None:
    report = run_all([vulture_misses("b.py"), ToolOutput(3, b"c.py:1: unused class 'C' (60% confidence)\n", b"", 0.5)])
    assert (report.outcome, report.files, report.seconds) == ("ok", 3, 0.75)
    assert report.unread == (Unread("b.py", "no such file"),)
    assert [each.path for each in report.findings] == ["c.py"]


def test_a_tool_left_without_a_file_has_read_none_of_them() -> None:
    report = run_all([vulture_misses("b.py"), vulture_misses("a.py", "c.py")])
    assert (report.outcome, report.files, [each.path for each in report.unread]) == ("ok", 3, [*FILES])


def test_the_first_reason_is_told() -> None:
    run = going_on.Run(FILES).after(vulture_misses("b.py"), [Unread("b.py", "first"), Unread("b.py", "second")])
    assert (run.files, run.set_aside) == (("a.py", "c.py"), (Unread("b.py", "first"),))


def test_the_number_of_runs_is_bounded_and_then_the_tool_has_not_looked() -> None:
    last = going_on.Run(FILES, number=going_on.MAX_RUNS)
    assert going_on.blockers(Vulture(), last, vulture_misses("b.py"), root=ROOT) == ()
    report = going_on.report_of(Vulture(), last, vulture_misses("b.py"), root=ROOT, version="1")
    assert report.outcome == "crashed"
    assert "b.py could not be found" in report.message


def test_a_file_that_was_not_given_stops_nothing() -> None:
    assert going_on.blockers(Vulture(), going_on.Run(FILES), vulture_misses("other.py"), root=ROOT) == ()


def test_a_tool_that_goes_on_by_itself_is_not_asked() -> None:
    assert going_on.blockers(Ruff(), going_on.Run(FILES), ToolOutput(2, b"", b"", 0.1), root=ROOT) == ()


@pytest.mark.parametrize(
    ("stdout", "stderr", "expected"),
    [
        (b"", b"b.py: error: Cannot read file: No such file or directory\n", {"b.py"}),
        (b"", b"b.py: error: Cannot decode file: 'utf-8' codec\n", {"b.py"}),
        (b"", b"b.py:7: error: INTERNAL ERROR -- Please try\nversion: 2.4.1\n", {"b.py"}),
        (b'{"file":"b.py","line":2,"message":"bad","code":"syntax","severity":"error"}', b"", {"b.py"}),
        (b'{"file":"b.py","line":2,"message":"outside loop","code":null,"severity":"error"}', b"", {"b.py"}),
        (b'{"file":"b.py","line":2,"message":"types","code":"misc","severity":"error"}', b"", set()),
        (b'{"file":"b.py","line":2,"message":"see","code":null,"severity":"note"}', b"", set()),
        (b'{"file":"other.py","line":2,"message":"bad","code":"syntax","severity":"error"}', b"", set()),
        (b"[[[not json", b"usage: mypy", set()),
        (b'{"file":["b.py"],"line":"x","message":{},"severity":"error"}', b"", set()),
    ],
)
def test_what_mypy_says_it_stopped_at(stdout: bytes, stderr: bytes, expected: set[str]) -> None:
    output = ToolOutput(2, stdout, stderr, 0.1)
    assert {each.path for each in Mypy().blockers(output, files=FILES, root=ROOT)} == expected
    assert Mypy().blockers(ToolOutput(1, stdout, stderr, 0.1), files=FILES, root=ROOT) == ()
