"""mypy and vulture look at a whole program: what keeps them from it is set aside, and the rest is looked at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mahavishnu_operator.scan.tools import common
from mahavishnu_operator.scan.tools.registry import TOOLS
from tests.unit.scan.trees import script

from .scan_tools import places, run, start, unread

NAMES = [b"sp ace.py", b"new\nline.py", b"-rf.py", b"@x.py", b"caf\xe9.py", "ü\x7f.py".encode()]
WRONG = b"x: int = ''\n"


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


def test_mypy_loads_no_plugin_and_starts_no_python_of_the_scanned_tree(root: Path, scratch: Path) -> None:
    mark = scratch.parent / "was-started"
    (root / "a.py").write_bytes(WRONG)
    (root / "plug.py").write_text(f"open({str(mark)!r}, 'w')\ndef plugin(version): raise SystemExit\n")
    interpreter = script(root / "interpreter", mark=mark)
    (root / "mypy.ini").write_text("[mypy]\nplugins = plug.py\n")
    start(("mypy", "--cache-dir", str(scratch), "a.py"), root=root, scratch=scratch)
    assert mark.exists()  # bare mypy does load it
    mark.unlink()
    assert places(run(TOOLS["mypy"], root, ["a.py"], scratch=scratch)) == {("assignment", "a.py", 1)}
    (root / "mypy.ini").write_text(f"[mypy]\npython_executable = {interpreter}\n")
    start(("mypy", "--cache-dir", str(scratch), "a.py"), root=root, scratch=scratch)
    assert mark.exists()
    mark.unlink()
    assert places(run(TOOLS["mypy"], root, ["a.py"], scratch=scratch)) == {("assignment", "a.py", 1)}
    assert not mark.exists()


def test_mypy_does_not_report_that_the_worker_lacks_a_library(root: Path, scratch: Path) -> None:
    (root / "a.py").write_text("import no_such_library, yaml\nx: int = no_such_library.y\n")
    report = run(TOOLS["mypy"], root, scratch=scratch)
    assert (report.outcome, report.findings) == ("ok", ())


def test_files_of_one_module_name_are_unread_but_one(root: Path, scratch: Path) -> None:
    for folder in ("a", "b", "c"):
        (root / folder).mkdir()
        (root / folder / "conf.py").write_bytes(WRONG)
    report = run(TOOLS["mypy"], root, scratch=scratch)
    assert places(report) == {("assignment", "a/conf.py", 1)}
    assert unread(report) == {f"{name}/conf.py": unread(report)["b/conf.py"] for name in ("b", "c")}
    assert unread(report)["b/conf.py"].endswith("conf is a/conf.py already")


def test_a_module_that_hides_one_of_mypys_own_hides_its_folder_alone(root: Path, scratch: Path) -> None:
    (root / "made").mkdir()
    for name in ("made/types.py", "made/other.py", "a.py"):
        (root / name).write_bytes(WRONG)
    report = run(TOOLS["mypy"], root, scratch=scratch)
    assert places(report) == {("assignment", "a.py", 1)}
    assert set(unread(report)) == {"made/types.py", "made/other.py"}
    assert "shadows library module" in unread(report)["made/other.py"]


def test_a_module_in_the_root_that_hides_one_of_mypys_own_is_a_crash_in_words(root: Path, scratch: Path) -> None:
    (root / "types.py").write_bytes(WRONG)
    report = run(TOOLS["mypy"], root, scratch=scratch)
    assert report.outcome == "crashed"
    assert 'types.py: This file shadows library module "types"' in report.message
    assert "scan the folder above" in report.message


def test_a_package_whose_name_is_none_is_unread(root: Path, scratch: Path) -> None:
    (root / "no-name").mkdir()
    for name in ("no-name/__init__.py", "no-name/b.py", "a.py"):
        (root / name).write_bytes(WRONG)
    report = run(TOOLS["mypy"], root, scratch=scratch)
    assert places(report) == {("assignment", "a.py", 1)}
    assert set(unread(report)) == {"no-name/__init__.py", "no-name/b.py"}


def test_a_statement_that_ends_mypy_after_parsing_is_unread_and_hides_no_other(root: Path, scratch: Path) -> None:
    (root / "a.py").write_bytes(WRONG)
    (root / "b.py").write_text("break\n")
    report = run(TOOLS["mypy"], root, scratch=scratch)
    assert places(report) == {("assignment", "a.py", 1)}
    assert unread(report) == {"b.py": 'line 1: "break" outside loop'}


@pytest.mark.parametrize("tool", ["mypy", "vulture"])
def test_more_files_than_a_command_line_takes_are_still_one_program(
    tool: str, root: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "MAX_ARGV_BYTES", 10)
    (root / "pyproject.toml").write_text('[tool.vulture]\nignore_names = ["kept"]\nsort_by_size = true\n')
    for name in NAMES:
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes({"mypy": WRONG, "vulture": b"import os\n"}[tool])
    (root / "kept.py").write_bytes(b"def kept() -> int: return 1\n")
    report = run(TOOLS[tool], root, scratch=scratch)
    refused = {"mypy": [b"caf\xe9.py", b"new\nline.py"], "vulture": [b"caf\xe9.py"]}[tool]
    assert [os.fsencode(path) for path in unread(report)] == refused
    assert sorted(os.fsencode(each.path) for each in report.findings) == sorted({*NAMES} - {*refused})
