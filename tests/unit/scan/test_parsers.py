"""What the tools' adapters make of output; tests/integration/test_scan_tools.py runs the tools themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mahavishnu_operator.api.reasons import Level
from mahavishnu_operator.api.scanjob import Scan
from mahavishnu_operator.cli.scan import TOOL_HELP
from mahavishnu_operator.scan.model import ToolReport, Unread, decode_tool_report, encode
from mahavishnu_operator.scan.tools.protocol import StopsAtOneFile, Tool, ToolOutput
from mahavishnu_operator.scan.tools.registry import DEFAULT, TOOLS, find_tools, install_hint
from mahavishnu_operator.support.errors import InvalidInput

NOWHERE = Path("/nonexistent")
ALL = sorted(TOOLS)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("filename", "code", "message", "location", "row", "results", "errors", "test_id", "line_range"),
                    *("file", "line", "column", "severity", "hint", "runs", "locations", "physicalLocation", "text"),
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
outputs = st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode())


def parse(tool: str, code: int, stdout: bytes = b"", stderr: bytes = b"", root: Path = NOWHERE) -> ToolReport:
    files = ["a.py", "-b.py", "c\n.py", "\udcff.py"]
    output = ToolOutput(code, stdout, stderr, 0.5, report=stdout)
    return TOOLS[tool].parse(output, files=files, root=root, version="1")


@pytest.mark.parametrize("tool", ALL)
@given(code=st.sampled_from([0, 1, 2, 65, -9, 137]), stdout=outputs, stderr=st.binary(max_size=100))
def test_no_output_makes_a_parser_raise(tool: str, code: int, stdout: bytes, stderr: bytes) -> None:
    report = parse(tool, code, stdout, stderr)
    assert report.outcome in ("ok", "crashed")
    assert report.outcome == "ok" or report.message
    assert decode_tool_report(encode(report)) == report


@pytest.mark.parametrize("tool", [each for each in TOOLS.values() if isinstance(each, StopsAtOneFile)])
@given(code=st.sampled_from([0, 1, 2, -9]), stdout=outputs, stderr=st.binary(max_size=100))
def test_no_output_makes_the_search_for_blockers_raise(
    tool: StopsAtOneFile, code: int, stdout: bytes, stderr: bytes
) -> None:
    files = ["a.py", "c\n.py", "\udcff.py"]
    found = tool.blockers(ToolOutput(code, stdout, stderr, 0.5), files=files, root=NOWHERE)
    assert {each.path for each in found} <= {*files}


@pytest.mark.parametrize("tool", ALL)
def test_a_tool_killed_by_a_signal_has_crashed_in_words(tool: str) -> None:
    report = parse(tool, -11, b"[]", b"some\nlast words")
    assert report.outcome == "crashed"
    assert report.message == f"{tool} was killed by signal 11 (SIGSEGV): some last words"
    assert report.exit_code == -11


@pytest.mark.parametrize("tool", ALL)
def test_an_exit_code_that_the_tool_does_not_have_is_a_crash(tool: str) -> None:
    report = parse(tool, 77, b"[]", b"Traceback")
    assert (report.outcome, report.message) == ("crashed", f"{tool} ended with exit code 77: Traceback")


@pytest.mark.parametrize("tool", ["ruff", "bandit", "complexipy"])
def test_findings_by_exit_code_without_a_report_are_a_crash(tool: str) -> None:
    assert parse(tool, 1, b"not json").outcome == "crashed"
    assert parse(tool, 0, b"").outcome == "crashed"


def test_codespell_saying_findings_and_printing_none_is_a_crash() -> None:
    assert parse("codespell", 65, b"nothing to see").outcome == "crashed"
    assert parse("codespell", 0, b"").outcome == "ok"


@pytest.mark.parametrize(("tool", "code"), [("vulture", 3), ("vulture", 1), ("mypy", 1), ("complexipy", 1)])
def test_saying_findings_and_printing_none_is_a_crash(tool: str, code: int) -> None:
    stdout = b'{"runs": [{"results": []}]}' if tool == "complexipy" else b"\n"
    assert parse(tool, code, stdout).outcome == "crashed"
    assert parse(tool, 0, stdout).outcome == "ok"


def mypy_entry(**over: Any) -> bytes:
    entry = {"file": "a.py", "line": 3, "column": 7, "end_line": 3, "end_column": 9, "message": "wrong", "hint": None}
    return json.dumps({**entry, "code": "misc", "severity": "error", **over}).encode()


@pytest.mark.parametrize(("severity", "level"), [("error", Level.ERROR), ("note", Level.NOTE), ("new", Level.ERROR)])
def test_mypys_severities_are_levels_and_its_columns_count_from_0(severity: str, level: Level) -> None:
    (found,) = parse("mypy", 1, mypy_entry(severity=severity)).findings
    assert (found.path, found.rule, found.level) == ("a.py", "misc", level)
    assert (found.line, found.column, found.end_line, found.end_column) == (3, 8, 3, 10)
    assert found.help_uri.endswith("#code-misc")


def test_mypys_hint_is_told_with_its_message_and_what_it_does_not_know_is_0() -> None:
    (found,) = parse("mypy", 1, mypy_entry(line=-1, column=-1, end_column=0, hint="try", code=None)).findings
    assert (found.message, found.rule, found.line, found.column, found.end_column) == ("wrong\ntry", "error", 0, 0, 0)


def test_mypy_that_stopped_is_a_crash_that_says_where() -> None:
    report = parse("mypy", 2, mypy_entry(file="gone.py", line=-1, message="cannot be placed", code=None))
    assert (report.outcome, report.message) == (
        "crashed",
        "mypy ended with exit code 2 and stopped at gone.py: cannot be placed",
    )


@pytest.mark.parametrize(
    ("message", "rule"),
    [
        ("unused function 'f' (60% confidence)", "unused-function"),
        ("unused import 'os' (90% confidence, 1 line)", "unused-import"),
        ("unreachable code after 'return' (100% confidence)", "unreachable-code"),
        ("unsatisfiable 'if' condition (100% confidence)", "unreachable-code"),
        ("redundant if-condition (100% confidence)", "unreachable-code"),
    ],
)
@pytest.mark.parametrize(("shown", "path"), [(b"a.py", "a.py"), (b"c\n.py", "c\n.py"), (b"\xff.py", "\udcff.py")])
def test_vultures_lines_have_a_rule_by_what_goes_unused(message: str, rule: str, shown: bytes, path: str) -> None:
    (found,) = parse("vulture", 3, shown + b":12: " + message.encode() + b"\n").findings
    assert (found.path, found.line, found.rule, found.level) == (path, 12, rule, Level.WARNING)
    assert found.message == message


def test_what_vulture_says_of_files_that_it_did_not_understand() -> None:
    said = b'a.py:3: invalid syntax at "x: y"\n-b.py: invalid source code "null bytes"\n'
    said += b"Error: Could not read file /nonexistent/c\n.py - \nTry to change the encoding to UTF-8.\n"
    report = parse("vulture", 1, b"", said)
    assert {each.path: each.reason for each in report.unread} == {
        "a.py": 'line 3: invalid syntax at "x: y"',
        "-b.py": 'invalid source code "null bytes"',
        "c\n.py": "it cannot be decoded",
    }


def test_complexipys_uris_are_names_again() -> None:
    def result(uri: str) -> dict[str, Any]:
        place = {"artifactLocation": {"uri": uri}, "region": {"startLine": 2, "endLine": 9}}
        return {"message": {"text": "complex"}, "locations": [{"physicalLocation": place}]}

    log = {"runs": [{"results": [result("c%0A.py"), result("%FF.py"), result("a.py")]}]}
    findings = parse("complexipy", 1, json.dumps(log).encode()).findings
    assert {each.path for each in findings} == {"c\n.py", "\udcff.py", "a.py"}
    assert {(each.rule, each.level, each.line, each.end_line) for each in findings} == {
        ("cognitive-complexity", Level.WARNING, 2, 9)
    }


@pytest.mark.parametrize(
    "output",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[", id="half of JSON"),
        pytest.param(b"{}", id="another JSON"),
        pytest.param(b"[" * 100_000, id="deeply nested"),
        pytest.param(b"[1e400, NaN]", id="no numbers"),
        pytest.param(b"all is well", id="no JSON"),
    ],
)
def test_output_that_is_no_list_of_findings_is_a_crash_of_the_tool_and_not_ours(output: bytes) -> None:
    report = parse("ruff", 1, output)
    assert (report.outcome, "printed no list of findings" in report.message) == ("crashed", True)


def ruff_entry(**over: Any) -> dict[str, Any]:
    return {
        "filename": "/nonexistent/a.py",
        "code": "F401",
        "message": "unused",
        "location": {"row": 3, "column": 8},
        "end_location": {"row": 3, "column": 10},
        "severity": "error",
        "url": "https://example.org",
        **over,
    }


@pytest.mark.parametrize(
    ("severity", "level"),
    [
        ("error", Level.ERROR),
        ("warning", Level.WARNING),
        ("info", Level.NOTE),
        (None, Level.ERROR),
        ("new", Level.ERROR),
    ],
)
def test_ruff_has_levels_of_its_own_and_error_without_one(severity: str | None, level: Level) -> None:
    (found,) = parse("ruff", 1, json.dumps([ruff_entry(severity=severity)]).encode()).findings
    assert (found.path, found.line, found.column, found.end_column, found.level) == ("a.py", 3, 8, 10, level)


def test_a_file_that_ruff_cannot_read_is_unread() -> None:
    report = parse("ruff", 1, json.dumps([ruff_entry(code="E902", message="Permission denied")]).encode())
    assert (report.findings, report.unread) == ((), (Unread("a.py", "Permission denied"),))


def test_a_row_of_a_notebook_cell_is_not_taken_for_a_line_of_the_file() -> None:
    (found,) = parse("ruff", 1, json.dumps([ruff_entry(cell=2)]).encode()).findings
    assert (found.line, found.message) == (0, "cell 2, line 3: unused")


def test_a_name_with_replaced_bytes_is_found_among_the_files() -> None:
    (found,) = parse("ruff", 1, json.dumps([ruff_entry(filename="/nonexistent/\ufffd.py")]).encode()).findings
    assert found.path == "\udcff.py"


@pytest.mark.parametrize(
    ("severity", "level"),
    [("LOW", Level.NOTE), ("MEDIUM", Level.WARNING), ("HIGH", Level.ERROR), ("UNDEFINED", Level.NOTE)],
)
def test_bandits_severities_are_levels(severity: str, level: Level) -> None:
    entry = {
        "filename": "././-b.py",
        "test_id": "B101",
        "issue_text": "assert",
        "issue_severity": severity,
        "line_number": 4,
        "line_range": [4, 5],
        "col_offset": 0,
        "end_col_offset": 9,
        "more_info": "https://example.org/b101",
    }
    (found,) = parse("bandit", 1, json.dumps({"results": [entry], "errors": []}).encode()).findings
    assert (found.path, found.rule, found.level) == ("-b.py", "B101", level)
    assert (found.line, found.column, found.end_line, found.end_column) == (4, 1, 5, 0)


def test_bandits_byte_offsets_become_columns(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("'ü', exec('')\n")
    entry = {"filename": "./a.py", "test_id": "B102", "issue_text": "exec", "line_number": 1, "line_range": [1]}
    entry |= {"col_offset": 6, "end_col_offset": 14}
    report = parse("bandit", 1, json.dumps({"results": [entry], "errors": []}).encode(), root=tmp_path)
    assert (report.findings[0].column, report.findings[0].end_column) == (6, 14)


def test_a_file_outside_the_given_list_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("secret = 1\n")
    plain = parse("ruff", 1, json.dumps([ruff_entry(filename="other.py")]).encode())
    there = parse("ruff", 1, json.dumps([ruff_entry(filename="other.py")]).encode(), root=tmp_path)
    assert plain.findings[0].fingerprint == there.findings[0].fingerprint


@pytest.mark.parametrize(
    ("line", "path", "number"),
    [
        (b"./a.py:12: teh ==> the", "a.py", 12),
        (b"./c\n.py:3: teh ==> the", "c\n.py", 3),
        (b"./\xff.py:3: teh ==> the", "\udcff.py", 3),
        (b"./a.py: teh ==> the", "a.py", 0),
    ],
)
def test_codespells_lines_are_matched_against_the_files_it_was_given(line: bytes, path: str, number: int) -> None:
    (found,) = parse("codespell", 65, b"> context: of the line\n" + line + b"\n").findings
    assert (found.path, found.line, found.message) == (path, number, "teh ==> the")


def test_a_name_that_looks_like_a_line_of_output_is_read_rightly() -> None:
    files = ["a.py", "a.py:1: teh ==> the"]
    output = ToolOutput(65, b"./a.py:1: teh ==> the:7: adn ==> and\n", b"", 0.1)
    (found,) = TOOLS["codespell"].parse(output, files=files[1:], root=NOWHERE, version="1").findings
    assert (found.path, found.line, found.message) == (files[1], 7, "adn ==> and")


@pytest.mark.parametrize(
    ("tool", "stdout", "version"),
    [
        ("ruff", b"ruff 0.17.5\n", "0.17.5"),
        ("ruff", b"ruff 0.17.5 (abc 2026-01-01)\n", "0.17.5"),
        ("bandit", b"bandit 1.9.4\n  python version = 3.11.7\n", "1.9.4"),
        ("codespell", b"2.4.3\n", "2.4.3"),
        ("complexipy", b"complexipy 8.3.0\n", "8.3.0"),
        ("mypy", b"mypy 2.4.1 (compiled: yes)\n", "2.4.1"),
        ("vulture", b"vulture 2.16\n", "2.16"),
        ("codespell", b"codespell: command not found", ""),
        ("ruff", b"", ""),
    ],
)
def test_versions_are_bare(tool: str, stdout: bytes, version: str) -> None:
    assert TOOLS[tool].parse_version(stdout) == version


@pytest.mark.parametrize("tool", [pytest.param(TOOLS[name], id=name) for name in ALL])
def test_no_file_name_can_become_an_option(tool: Tool, tmp_path: Path) -> None:
    command = tool.command(["-rf", "--config=x", "a b"], scratch=tmp_path, root=tmp_path)
    assert command[command.index("--") + 1 :] == ("./-rf", "./--config=x", "./a b")


@pytest.mark.parametrize(
    ("tool", "path", "selected"),
    [
        ("ruff", "pkg/a.py", True),
        ("ruff", "a.pyi", True),
        ("ruff", "n.ipynb", True),
        ("ruff", "sub/pyproject.toml", True),
        ("ruff", "a.txt", False),
        ("bandit", "a.py", True),
        ("bandit", "a.pyi", False),
        ("vulture", ".hidden/a.py", True),
        ("vulture", "a.pyi", False),
        ("complexipy", "a.py", True),
        ("complexipy", ".hidden/a.py", False),
        ("mypy", "sub/a.pyi", True),
        ("mypy", ".hidden/a.py", False),
        ("mypy", "site-packages/a.py", False),
        ("codespell", "README", True),
        ("codespell", "a.PNG", False),
    ],
)
def test_a_tool_is_given_what_it_would_look_at_itself(tool: str, path: str, selected: bool) -> None:
    assert TOOLS[tool].selects(path) is selected


def test_unknown_tools_are_named_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match=r"no such tool: rufff.*bandit, codespell, complexipy, mypy, ruff, vulture"):
        find_tools(["ruff", "rufff"])


def test_what_runs_when_nobody_names_tools_is_quick_and_worth_reading_on_any_tree() -> None:
    assert DEFAULT == ("bandit", "codespell", "ruff")


def test_the_hint_says_what_to_type() -> None:
    assert "pip install ruff" in install_hint("ruff")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"tool":1}', '{"tool":"x","version":"","outcome":"great"}', "[" * 100_000, "\xff"]
)
def test_what_is_no_report_is_refused_as_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        decode_tool_report(text)


def test_a_report_with_numbers_that_json_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        decode_tool_report('{"tool":"x","version":"","outcome":"ok","seconds":NaN}')


def test_the_help_and_the_schema_name_every_tool() -> None:
    described = Scan.model_fields["tools"].description or ""
    assert described.endswith(f": {', '.join(sorted(TOOLS))}.")
    default, others = TOOL_HELP.rstrip(".").split("default: ")[1].split(". Also: ")
    assert (sorted(default.split(", ")), sorted(others.split(", "))) == (sorted(DEFAULT), sorted({*TOOLS} - {*DEFAULT}))
