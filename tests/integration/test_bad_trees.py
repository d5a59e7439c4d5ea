"""Trees that no scanner was made for, under the real `mahavishnu scan` with the real tools.

Paths that are none, names of any bytes, content of any kind, repositories that want something started: a truthful
report each time, nothing of the tree run, nothing in it changed.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.scan.trees import git, repository, script, write

from .cli_tools import run

MIB = 1024 * 1024
UNUSED = b"import os\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "seen.py").write_bytes(UNUSED)
    return folder


def report(tree: Path, *arguments: str) -> dict[str, Any]:
    """The answer of a scan that ran to its end."""
    done = run("scan", tree, "--workers", "1", "--fail-on", "none", "--json", *arguments)
    assert done.returncode in (0, 3), done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def found(answer: dict[str, Any]) -> set[str]:
    """The files with findings."""
    results = [result for run_ in answer["sarif"]["runs"] for result in run_["results"]]
    return {result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in results}


def told(answer: dict[str, Any]) -> str:
    """Everything that the report says of files that were not read or left out."""
    return json.dumps([run_["invocations"] for run_ in answer["sarif"]["runs"]])


# --- paths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [("gone", "there is no"), ("a" * 300, "File name too long"), ("loop", "symbolic link"), ("seen.py", "no")],
)
def test_a_path_that_is_no_folder_is_refused_in_words(tree: Path, name: str, words: str) -> None:
    (tree / "loop").symlink_to("loop")
    done = run("scan", tree / name)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert words in done.stderr


def test_a_folder_whose_name_is_not_utf8_is_refused_and_scanned_from_above(tree: Path) -> None:
    odd = tree / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    (odd / "a.py").write_bytes(UNUSED)
    done = run("scan", odd)
    assert (done.returncode, "caf\\udce9 is not UTF-8" in done.stderr) == (2, True)
    assert "caf%E9/a.py" in found(report(tree, "--tool", "ruff"))


def test_a_glob_that_is_not_utf8_is_refused(tree: Path) -> None:
    done = run("scan", tree, "--include", os.fsdecode(b"\xff"))
    assert (done.returncode, "is not UTF-8" in done.stderr) == (2, True)


@pytest.mark.parametrize("options", [("--include", "x" * 257), ("--exclude", ""), *[("--include", "/")]])
def test_a_glob_that_names_nothing_or_too_much_is_refused(tree: Path, options: tuple[str, ...]) -> None:
    done = run("scan", tree, *options)
    assert (done.returncode, "Traceback" in done.stderr) in ((2, False), (3, False))
    assert "glob" in done.stderr or "include" in done.stderr or "exclude" in done.stderr


@pytest.mark.parametrize("name", ["loop", "folder", "gone/report.sarif", "a" * 300])
def test_a_report_that_can_be_no_file_is_refused_before_the_scan(tree: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    done = run("scan", tree, "--sarif", tmp_path / name)
    assert (done.returncode, "Traceback" in done.stderr, "scanning" in done.stderr) == (2, False, False)


def test_a_report_for_which_the_disk_has_no_room_is_still_shown(tree: Path) -> None:
    done = run("scan", tree, "--tool", "ruff", "--sarif", "/dev/full")
    assert done.returncode == 2
    assert "cannot write the report to /dev/full: No space left on device" in done.stderr
    assert "F401" in done.stdout


# --- content --------------------------------------------------------------------------------------


def test_files_that_hold_no_text_are_looked_at_without_harm(tree: Path) -> None:
    write(tree, "empty.py", "empty.txt", content=b"")
    write(tree, "nul.py", content=b"x = '\0'\n")
    write(tree, "binary.py", content=bytes(range(256)) * 64)
    write(tree, "mark.py", content=b"\xef\xbb\xbfimport os\r\n")
    write(tree, "utf16.py", content="import os\n".encode("utf-16"))
    answer = report(tree, "--tool", "all")
    assert {"seen.py", "mark.py"} <= found(answer)
    assert "binary.py" in told(answer)
    assert "utf16.py" in told(answer)
    assert {run_["invocations"][0]["executionSuccessful"] for run_ in answer["sarif"]["runs"]} == {True}


def test_a_source_line_of_50_mb_is_left_out_and_named(tree: Path) -> None:
    write(tree, "wide.py", content=b"x = '" + b"a" * (50 * MIB) + b"'\n")
    answer = report(tree, "--tool", "all")
    assert "seen.py" in found(answer)
    assert "wide.py" in told(answer)
    assert "larger than 32 MiB" in told(answer)


def test_a_source_line_of_2_mb_is_scanned(tree: Path) -> None:
    write(tree, "wide.py", content=b"import os\nx = '" + b"a " * MIB + b"'\n")
    assert found(report(tree, "--tool", "ruff")) >= {"seen.py", "wide.py"}


def test_a_line_of_tens_of_thousands_of_misspellings_is_counted(tree: Path) -> None:
    write(tree, "words.txt", content=b"teh " * 20_000 + b"\n")
    answer = report(tree, "--tool", "codespell")
    assert answer["findings"]["total"] == 20_000
    assert len(answer["sarif"]["runs"][0]["results"]) == 20_000


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"x = " + b"(" * 5000 + b")" * 5000 + b"\n", id="brackets"),
        pytest.param(b"x = " + b"-" * 20_000 + b"1\n", id="signs"),
        pytest.param(b"".join(b" " * n + b"if x:\n" for n in range(150)) + b" " * 150 + b"pass\n", id="indents"),
        pytest.param(b"x = " + b" + ".join([b"1"] * 20_000) + b"\n", id="a long sum"),
    ],
)
def test_source_nested_past_every_parsers_stack_is_never_taken_for_clean(tree: Path, content: bytes) -> None:
    write(tree, "deep.py", content=content)
    answer = report(tree, "--tool", "ruff", "--tool", "bandit", "--tool", "complexipy")
    runs = {run_["tool"]["driver"]["name"]: run_["invocations"][0] for run_ in answer["sarif"]["runs"]}
    assert all(each["executionSuccessful"] for each in runs.values()) or answer["verdict"] == "Incomplete"
    assert not runs["ruff"]["executionSuccessful"] or "seen.py" in found(answer)


def test_links_in_circles_and_out_of_the_tree_are_not_followed(tree: Path, tmp_path: Path) -> None:
    write(tmp_path / "outside", "secret.py", content=UNUSED)
    (tree / "self").symlink_to(".")
    (tree / "one.py").symlink_to("two.py")
    (tree / "two.py").symlink_to("one.py")
    (tree / "out").symlink_to(tmp_path / "outside")
    (tree / "out.py").symlink_to(tmp_path / "outside/secret.py")
    answer = report(tree, "--tool", "ruff")
    assert found(answer) == {"seen.py"}
    assert "leaves the scanned folder" in told(answer)


def test_pipes_sockets_and_devices_are_not_opened(tree: Path) -> None:
    os.mkfifo(tree / "pipe.py")
    (tree / "null.py").symlink_to("/dev/null")
    assert found(report(tree, "--tool", "all")) >= {"seen.py"}


# --- repositories ---------------------------------------------------------------------------------


def test_nothing_that_a_repository_names_is_started(tmp_path: Path) -> None:
    root = repository(tmp_path / "root", "a.py")
    mark = tmp_path / "was-started"
    program = str(script(tmp_path / "program", mark=mark))
    for hook in ("post-checkout", "pre-commit", "post-index-change", "fsmonitor-watchman"):
        script(root / ".git/hooks" / hook, mark=mark)
    (root / ".gitattributes").write_text("* diff=x filter=x\n")
    for key in (
        *("core.fsmonitor", "core.sshCommand", "core.pager", "core.editor", "core.askPass", "credential.helper"),
        *(
            "diff.x.textconv",
            "diff.external",
            "filter.x.clean",
            "filter.x.smudge",
            "filter.x.process",
            "alias.ls-files",
        ),
        *("gpg.program", "core.gitProxy", "uploadpack.packObjectsHook"),
    ):
        git(root, "config", key, program)
    (root / "include").write_text(f"[core]\n\tfsmonitor = {program}\n")
    git(root, "config", "include.path", str(root / "include"))
    (root / "new.py").write_bytes(UNUSED)
    assert found(report(root, "--tool", "ruff")) == {"new.py"}
    assert not mark.exists()


def test_no_configuration_of_the_tree_is_run_as_code(tree: Path, tmp_path: Path) -> None:
    mark = tmp_path / "was-started"
    code = f"open({str(mark)!r}, 'w')\n"
    for name in ("plugin.py", "sitecustomize.py", "usercustomize.py", "conftest.py", "bandit.py", "ast.py", "json.py"):
        write(tree, name, content=code.encode())
    program = script(tmp_path / "program", mark=mark)
    (tree / "pyproject.toml").write_text(
        f'[tool.mypy]\nplugins = ["{tree}/plugin.py"]\npython_executable = "{program}"\n'
        f'[tool.ruff]\nfix = true\n[tool.bandit]\nplugins = ["plugin"]\n[tool.complexipy]\noutput = "{mark}"\n'
    )
    (tree / "mypy.ini").write_text(f"[mypy]\nplugins = {tree}/plugin.py\npython_executable = {program}\n")
    (tree / ".bandit").write_text(f"[bandit]\noutput = {mark}\n")
    (tree / ".codespellrc").write_text(f"[codespell]\ndictionary = {mark}\n")
    before = {path.name: path.read_bytes() for path in tree.iterdir()}
    run("scan", tree, "--tool", "all", "--workers", "1")
    assert not mark.exists()
    assert {path.name: path.read_bytes() for path in tree.iterdir()} == before


@pytest.mark.parametrize("kind", ["shallow", "bare", "sparse", "submodule", "broken", "headless", "of another user"])
def test_a_repository_of_any_kind_is_scanned(tmp_path: Path, kind: str) -> None:
    root = repository(tmp_path / "root", "kept/a.py", "left/b.py")
    write(root, "kept/new.py", content=UNUSED)
    match kind:
        case "shallow":
            git(tmp_path, "clone", "-q", "--depth", "1", root.as_uri(), str(tmp_path / "clone"))
            root = tmp_path / "clone"
            write(root, "kept/new.py", content=UNUSED)
        case "bare":
            git(tmp_path, "clone", "-q", "--bare", str(root), str(tmp_path / "bare"))
            root = tmp_path / "bare"
            write(root, "kept/new.py", content=UNUSED)
        case "sparse":
            git(root, "sparse-checkout", "set", "kept")
        case "submodule":
            other = repository(tmp_path / "other", "inner.py")
            git(root, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other), "module")
        case "broken":
            (root / ".git/index").write_bytes(b"DIRC" + os.urandom(100))
        case "headless":
            (root / ".git/HEAD").write_text("ref: refs/heads/../../../etc/passwd\n")
        case "of another user":
            if os.geteuid():
                pytest.skip("only root can give a repository to somebody else")
            subprocess.run(["chown", "-R", "65534", str(root / ".git")], check=True)
    answer = report(root, "--tool", "ruff")
    assert "kept/new.py" in found(answer)
    if kind == "submodule":
        assert "submodule" in told(answer)
