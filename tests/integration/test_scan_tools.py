"""The adapters against the real tools: exit codes, findings, unread files, odd names, hostile configuration."""

from __future__ import annotations

import email
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mahavishnu_operator.scan.report import merge_reports
from mahavishnu_operator.scan.tools.registry import TOOLS

from .scan_tools import FIXTURES, output_of, places, run, run_in_bins, selected, start, unread, version

ALL = sorted(TOOLS)
DIRTY_LINE = {
    "bandit": b"exec('')\n",
    "codespell": b"# teh\n",
    "complexipy": b"def f(a): return " + b"(1 if a else " * 6 + b"0" + b")" * 6 + b"\n",
    "mypy": b"x: int = ''\n",
    "ruff": b"import os\n",
    "vulture": b"import os\n",
}
RULE_OF_IT = {
    "bandit": "B102",
    "codespell": "misspelling",
    "complexipy": "cognitive-complexity",
    "mypy": "assignment",
    "ruff": "F401",
    "vulture": "unused-import",
}
TAKES_UTF8_ALONE = {"complexipy", "mypy"}
ODD_NAMES = [b"sp ace.py", b"new\nline.py", b"-rf.py", b"--help.py", b"caf\xe9.py", "ü.py".encode(), b"a:1: x ==> y.py"]


Case = Callable[[str, str], Path]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A copy of a tool's fixtures: in place, this repository's own configuration would hold for them."""

    def copy(tool: str, name: str) -> Path:
        return shutil.copytree(FIXTURES / tool / name, tmp_path / tool / name)

    return copy


@pytest.mark.parametrize(
    ("tool", "clean", "dirty", "broken", "missing", "usage"),
    [
        ("bandit", 0, 1, 0, 0, 2),
        ("codespell", 0, 65, 65, 0, 2),
        ("complexipy", 0, 1, 1, 1, 2),
        ("mypy", 0, 1, 2, 2, 2),
        ("ruff", 0, 1, 1, 1, 2),
        ("vulture", 0, 3, 1, 1, 2),
    ],
)
def test_exit_codes_are_as_the_adapters_say(
    tool: str, clean: int, dirty: int, broken: int, missing: int, usage: int, case: Case, scratch: Path
) -> None:
    for name, code in {"clean": clean, "dirty": dirty, "broken": broken}.items():
        root = case(tool, name)
        files = selected(TOOLS[tool], root)
        assert output_of(TOOLS[tool], root, files, scratch=scratch).exit_code == code, name
    assert output_of(TOOLS[tool], scratch, ["gone.py"], scratch=scratch).exit_code == missing
    command = TOOLS[tool].command(["x"], scratch=scratch, root=scratch)
    assert start((*command[:-2], "--no-such-option"), root=scratch, scratch=scratch).exit_code == usage


@pytest.mark.parametrize("tool", ALL)
def test_the_installed_version_is_found(tool: str, scratch: Path) -> None:
    assert re.fullmatch(r"\d+(\.\d+)+", version(TOOLS[tool], scratch))


@pytest.mark.parametrize("tool", ALL)
def test_a_clean_tree_is_ok_without_findings(tool: str, case: Case, scratch: Path) -> None:
    report = run(TOOLS[tool], case(tool, "clean"), scratch=scratch)
    assert (report.outcome, report.findings, report.unread, report.files) == ("ok", (), (), 1)


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        (
            "ruff",
            {("F401", "unused.py", 1), ("F401", "unused.py", 2), ("F821", "unused.py", 4), ("F401", "stub.pyi", 1)},
        ),
        (
            "bandit",
            {
                ("B404", "risky.py", 1),
                ("B101", "risky.py", 5),
                ("B602", "risky.py", 6),
                ("B102", "risky.py", 10),
            },
        ),
        ("codespell", {("misspelling", "words.txt", 1), ("misspelling", "words.txt", 3)}),
        ("complexipy", {("cognitive-complexity", "tangled.py", 2), ("cognitive-complexity", "tangled.py", 17)}),
        (
            "mypy",
            {
                ("name-defined", "helper.pyi", 3),
                ("arg-type", "wrong.py", 7),
                ("operator", "wrong.py", 7),
                ("misc", "wrong.py", 10),
                ("assignment", "wrong.py", 11),
            },
        ),
        (
            "vulture",
            {
                ("unused-import", "idle.py", 1),
                ("unused-class", "idle.py", 4),
                ("unused-variable", "idle.py", 5),
                ("unused-method", "idle.py", 7),
                ("unused-attribute", "idle.py", 8),
                ("unreachable-code", "idle.py", 10),
                ("unused-property", "idle.py", 12),
                ("unused-function", "idle.py", 17),
                ("unused-variable", "idle.py", 17),
                ("unreachable-code", "idle.py", 18),
            },
        ),
    ],
)
def test_a_dirty_tree_has_its_findings(
    tool: str, expected: set[tuple[str, str, int]], case: Case, scratch: Path
) -> None:
    report = run(TOOLS[tool], case(tool, "dirty"), scratch=scratch)
    assert report.outcome == "ok"
    assert expected <= places(report)
    assert len({each.fingerprint for each in report.findings}) == len(report.findings)
    assert all(each.message and each.tool == tool for each in report.findings)


def test_columns_are_in_characters_from_one(case: Case, scratch: Path) -> None:
    ruff = {each.rule: each for each in run(TOOLS["ruff"], case("ruff", "dirty"), scratch=scratch).findings}
    bandit = {each.rule: each for each in run(TOOLS["bandit"], case("bandit", "dirty"), scratch=scratch).findings}
    assert (ruff["F821"].column, ruff["F821"].end_column) == (7, 21)
    assert (bandit["B602"].column, bandit["B602"].end_column) == (12, 48)
    assert (bandit["B102"].column, bandit["B102"].end_line) == (34, 12)
    mypy = {each.rule: each for each in run(TOOLS["mypy"], case("mypy", "dirty"), scratch=scratch).findings}
    assert (mypy["arg-type"].column, mypy["arg-type"].end_column) == (17, 21)


def test_ruff_reports_what_it_cannot_parse_and_what_it_cannot_decode(case: Case, scratch: Path) -> None:
    report = run(TOOLS["ruff"], case("ruff", "broken"), scratch=scratch)
    assert report.outcome == "ok"
    assert ("invalid-syntax", "syntax.py", 3) in places(report)
    assert list(unread(report)) == ["latin.py"]
    assert "UTF-8" in unread(report)["latin.py"]


def test_bandit_exits_0_for_files_that_it_did_not_understand_and_they_are_unread(case: Case, scratch: Path) -> None:
    report = run(TOOLS["bandit"], case("bandit", "broken"), scratch=scratch)
    assert (report.outcome, report.exit_code, report.findings) == ("ok", 0, ())
    assert set(unread(report)) == {"latin.py", "syntax.py"}


def test_codespell_reads_latin_1_and_no_binary_files(case: Case, scratch: Path) -> None:
    report = run(TOOLS["codespell"], case("codespell", "broken"), scratch=scratch)
    assert places(report) == {("misspelling", "latin.txt", 1)}


def test_codespell_names_binary_files_when_it_is_configured_to(root: Path, scratch: Path) -> None:
    shutil.copytree(FIXTURES / "codespell/broken", root, dirs_exist_ok=True)
    (root / ".codespellrc").write_text("[codespell]\nquiet-level = 0\n")
    assert unread(run(TOOLS["codespell"], root, scratch=scratch)) == {"data.bin": "binary file"}


@pytest.mark.parametrize("tool", ALL)
def test_a_missing_file_is_unread_and_hides_no_other(tool: str, root: Path, scratch: Path) -> None:
    (root / "there.py").write_bytes(DIRTY_LINE[tool])
    report = run(TOOLS[tool], root, ["gone.py", "there.py"], scratch=scratch)
    assert report.outcome == "ok"
    assert list(unread(report)) == ["gone.py"]
    assert places(report) == {(RULE_OF_IT[tool], "there.py", 1)}


@pytest.mark.parametrize("tool", ALL)
def test_files_of_any_name_are_scanned_under_their_own_name(tool: str, root: Path, scratch: Path) -> None:
    for name in ODD_NAMES:
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes(DIRTY_LINE[tool])
    report = run(TOOLS[tool], root, scratch=scratch)
    assert report.outcome == "ok"
    refused = [b"caf\xe9.py"] if tool in TAKES_UTF8_ALONE else []
    assert [os.fsencode(path) for path in unread(report)] == refused
    assert sorted(os.fsencode(each.path) for each in report.findings) == sorted({*ODD_NAMES} - {*refused})
    assert {each.rule for each in report.findings} == {RULE_OF_IT[tool]}


@pytest.mark.parametrize("tool", ALL)
def test_nothing_is_written_into_the_tree(tool: str, root: Path, scratch: Path) -> None:
    (root / "a.py").write_bytes(DIRTY_LINE[tool])
    (root / "ruff.toml").write_text("fix = true\nunsafe-fixes = true\n")
    before = {path: path.read_bytes() for path in root.iterdir()}
    assert run(TOOLS[tool], root, ["a.py"], scratch=scratch).findings
    assert {path: path.read_bytes() for path in root.iterdir()} == before


@pytest.mark.parametrize("option", ["write-changes =", "interactive = 3\nwrite-changes =", "summary = -w"])
def test_codespell_does_not_change_files_whatever_the_project_configures(
    option: str, root: Path, scratch: Path
) -> None:
    (root / "a.txt").write_bytes(b"teh\n")
    (root / ".codespellrc").write_text(f"[codespell]\n{option}\n")
    report = run(TOOLS["codespell"], root, ["a.txt"], scratch=scratch)
    assert (root / "a.txt").read_bytes() == b"teh\n"
    assert report.outcome == "crashed"
    assert "asks it to change files" in report.message


def test_a_configuration_that_ruff_refuses_is_a_crash_with_its_words(root: Path, scratch: Path) -> None:
    (root / "a.py").write_text("x = 1\n")
    (root / "ruff.toml").write_text("no-such-setting = 1\n")
    report = run(TOOLS["ruff"], root, scratch=scratch)
    assert (report.outcome, report.exit_code) == ("crashed", 2)
    assert "no-such-setting" in report.message


def test_the_projects_ruff_configuration_is_honoured_file_by_file(root: Path, scratch: Path) -> None:
    (root / "made").mkdir()
    (root / "pyproject.toml").write_text(
        '[tool.ruff]\nextend-exclude = ["made"]\n[tool.ruff.lint]\nselect = ["E711"]\n'
    )
    for name in ("a.py", "made/b.py"):
        (root / name).write_text("import os\nx = os == None\n")
    assert places(run(TOOLS["ruff"], root, scratch=scratch)) == {("E711", "a.py", 2)}


def test_the_projects_vulture_configuration_holds_but_for_its_paths(root: Path, scratch: Path) -> None:
    (root / "pyproject.toml").write_text('[tool.vulture]\nmin_confidence = 80\npaths = ["gone.py"]\n')
    (root / "a.py").write_text("import os\ndef spare(): pass\n")
    assert places(run(TOOLS["vulture"], root, scratch=scratch)) == {("unused-import", "a.py", 1)}


def test_a_configuration_that_vulture_refuses_is_a_crash_with_its_words(root: Path, scratch: Path) -> None:
    (root / "pyproject.toml").write_text("[tool.vulture]\nno_such_setting = 1\n")
    (root / "a.py").write_text("import os\n")
    report = run(TOOLS["vulture"], root, scratch=scratch)
    assert (report.outcome, report.exit_code) == ("crashed", 2)
    assert "no_such_setting" in report.message


@pytest.mark.parametrize("name", ["complexipy.toml", ".complexipy.toml", "pyproject.toml"])
def test_of_complexipys_configuration_the_limit_alone_holds(name: str, root: Path, scratch: Path) -> None:
    (root / "a.py").write_bytes(DIRTY_LINE["complexipy"])
    head = "[tool.complexipy]\n" if name == "pyproject.toml" else ""
    (root / name).write_text(f'{head}max-complexity-allowed = 20\noutput = "{root}/made"\nexclude = ["a.py"]\n')
    (found,) = run(TOOLS["complexipy"], root, scratch=scratch).findings
    assert found.message.endswith("complexity of 21, which exceeds the maximum allowed complexity of 20.")
    (root / name).write_text(f"{head}max-complexity-allowed = 21\n")
    assert run(TOOLS["complexipy"], root, scratch=scratch).findings == ()
    assert {path.name for path in root.iterdir()} == {"a.py", name}


def test_complexipy_names_what_it_could_not_read_whatever_the_name(root: Path, scratch: Path) -> None:
    for name in ("a\n\tb.py", "c\u202ed.py", "ü.py"):
        (root / name).write_bytes(b"def broken(:\n")
    report = run(TOOLS["complexipy"], root, scratch=scratch)
    assert (report.outcome, set(unread(report))) == ("ok", {"a\n\tb.py", "c\u202ed.py", "ü.py"})


def bare_ruff(root: Path, scratch: Path) -> set[tuple[str, str, int, str]]:
    output = start(("ruff", "check", "--no-cache", "--output-format", "json"), root=root, scratch=scratch)
    return {
        (e["code"], os.path.relpath(e["filename"], root.resolve()), e["location"]["row"], e["message"])
        for e in json.loads(output.stdout)
    }


def bare_bandit(root: Path, scratch: Path) -> set[tuple[str, str, int, str]]:
    output = start(("bandit", "-q", "-r", "-f", "json", "."), root=root, scratch=scratch)
    results: list[dict[str, Any]] = json.loads(output.stdout)["results"]
    return {(e["test_id"], os.path.normpath(e["filename"]), e["line_number"], e["issue_text"]) for e in results}


def bare_codespell(root: Path, scratch: Path) -> set[tuple[str, str, int, str]]:
    lines = start(("codespell",), root=root, scratch=scratch).stdout.decode().splitlines()
    found = [(line.split(":", 2)[0], *line.split(":", 2)[1:]) for line in lines]
    return {("misspelling", os.path.normpath(path), int(row), words.strip()) for path, row, words in found}


@pytest.mark.parametrize(
    ("tool", "bare"), [("ruff", bare_ruff), ("bandit", bare_bandit), ("codespell", bare_codespell)]
)
@pytest.mark.parametrize(("bins", "chunk_size"), [(6, 0), (1, 7)])
def test_findings_in_bins_are_those_of_the_bare_tool_on_a_real_tree(
    tool: str,
    bare: Callable[[Path, Path], set[tuple[str, str, int, str]]],
    bins: int,
    chunk_size: int,
    root: Path,
    scratch: Path,
) -> None:
    library = Path(email.__file__).parents[1]
    for package in ("email", "json", "wsgiref"):
        shutil.copytree(library / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    (root / ".hidden").mkdir()
    (root / ".hidden/words.txt").write_text("teh\n")
    (root / "skipped").mkdir()
    (root / "skipped/words.txt").write_text("teh\n")
    (root / "setup.cfg").write_text("[codespell]\nskip = skipped\n")
    (root / "ruff.toml").write_text('lint.select = ["E", "F", "W", "B", "UP"]\n')
    reports = run_in_bins(TOOLS[tool], root, bins=bins, chunk_size=chunk_size, scratch=scratch)
    (merged,) = merge_reports(reports)
    assert (merged.outcome, merged.unread) == ("ok", ())
    found = {(each.rule, each.path, each.line, each.message) for each in merged.findings}
    assert found
    assert found == bare(root, scratch)
    assert len({each.fingerprint for each in merged.findings}) == len(merged.findings)
