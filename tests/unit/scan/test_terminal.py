"""The report at a terminal."""

from __future__ import annotations

import io
import re

import pytest

from mahavishnu_operator.api.reasons import Level
from mahavishnu_operator.scan.model import ToolReport, Unread
from mahavishnu_operator.scan.terminal import print_report, report_page

from .reports import finding, report


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def shown(*reports: ToolReport, stream: io.StringIO | None = None, seconds: float = 1.234) -> str:
    stream = stream or io.StringIO()
    print_report(reports, seconds=seconds, stream=stream)
    return stream.getvalue()


@pytest.fixture(autouse=True)
def terminal_of_100_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)


def test_the_last_lines_tell_what_each_tool_did() -> None:
    text = shown(
        report("ruff", finding(), finding(line=2, level=Level.WARNING), files=80, version="0.17.5", seconds=0.31),
        report("codespell", files=1, version="2.4.3", seconds=0.2),
        report("bandit", outcome="not-installed", version="", message=""),
        report("mypy", outcome="timed-out", message="600 s passed"),
    )
    assert text.splitlines()[-5:] == [
        "  bandit           not installed: install it where the worker runs: pip install bandit "
        "(or mahavishnu-operator[scanners] for all tools)",
        "  codespell 2.4.3  clean in 1 file, 0.2 s",
        "  mypy 1.0         timed out: 600 s passed",
        "  ruff 0.17.5      2 findings in 80 files, 0.3 s",
        "2 findings (1 error, 1 warning) in 1.2 s; bandit, mypy did not look everywhere",
    ]


def test_a_message_that_names_the_tool_stands_alone() -> None:
    text = shown(report("ruff", outcome="crashed", message="ruff was killed by signal 9 (SIGKILL)"))
    assert "  ruff 1.0  ruff was killed by signal 9 (SIGKILL)\n" in text


def test_a_clean_scan_says_so() -> None:
    assert shown(report("ruff", files=2)).splitlines() == [
        "  ruff 1.0  clean in 2 files, 0.5 s",
        "no findings in 1.2 s",
    ]


def test_the_worst_file_comes_first() -> None:
    text = shown(report("ruff", finding(path="a.py", level=Level.NOTE), finding(path="z.py", line=7)))
    assert text.splitlines()[:4] == ["z.py", "  7  error  R1  ruff  m", "a.py", "  1  note  R1  ruff  m"]


def test_what_is_not_shown_is_counted() -> None:
    many = [finding(path=f"f{file:02d}.py", line=line) for file in range(8) for line in range(1, 13)]
    text = shown(report("ruff", *many))
    assert text.count("  and 2 more in this file") == 6
    assert "and 24 more findings in 2 more files" in text


def test_an_error_is_shown_however_many_notes_stand_in_its_way() -> None:
    notes = [finding(path="a.py", line=n, level=Level.NOTE) for n in range(1, 200)]
    errors = [finding(path=f"b{n}.py", rule="WORST") for n in range(50)]
    assert shown(report("ruff", *notes, *errors)).count("WORST") == 50


def test_files_that_were_not_read_are_named_up_to_five() -> None:
    text = shown(report("bandit", unread=tuple(Unread(f"{n}.py", "syntax error") for n in range(7)), files=9))
    assert text.count("not read by bandit: ") == 5
    assert "and 2 more not read" in text
    assert "clean in 9 files, 0.5 s, 7 files not read" in text


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_nothing_of_scanned_code_reaches_the_terminal_as_a_command(stream: type[io.StringIO]) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\r\n\u202e\udcff"
    text = shown(
        report("ruff", finding(path=f"[red]x{evil}", rule=evil, message=f"[bold]{evil}"), unread=(Unread(evil, evil),)),
        report("bandit", outcome="crashed", message=evil, version=evil),
        stream=stream(),
    )
    left = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert all(char.isprintable() or char == "\n" for char in left)
    assert "[red]x\\x1b]0;owned" in left


def test_colour_is_for_terminals_alone() -> None:
    assert "\x1b[" in shown(report("ruff", finding()), stream=Terminal())
    assert "\x1b[" not in shown(report("ruff", finding()))


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in shown(report("ruff", finding()), stream=Terminal())


def test_a_long_message_is_wrapped_on_a_terminal_and_runs_on_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    message = " ".join(["word"] * 60)
    found = report("ruff", finding(message=message))
    assert max(len(line) for line in shown(found, stream=Terminal()).splitlines()) <= 100
    assert message in shown(found)


def test_a_page_has_the_report_and_nothing_of_scanned_code_is_markup_in_it() -> None:
    hostile = finding(message="<script>x</script>", path="a<b>&.py", rule="<i>")
    page = report_page([report("ruff", hostile, files=3)], seconds=1.2)
    assert page.startswith("<!DOCTYPE html>")
    assert "&lt;script&gt;x&lt;/script&gt;" in page
    assert "a&lt;b&gt;&amp;.py" in page
    assert "1 finding in 3 files" in page
    for markup in ("<script", "<i>", "<b>", "href", "src="):
        assert markup not in page
