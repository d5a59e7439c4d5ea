from __future__ import annotations

import os
from pathlib import Path

import pytest

from mahavishnu_operator.api.variables import may_be_handed_on
from mahavishnu_operator.worker import surroundings
from mahavishnu_operator.worker.scratch import remove_scratch
from mahavishnu_operator.worker.surroundings import clean_environment, tool_environment


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def test_a_folder_without_permissions_is_removed(scratch: Path) -> None:
    (scratch / "a" / "b").mkdir(parents=True)
    (scratch / "a" / "b" / "file").touch()
    (scratch / "a" / "b").chmod(0)
    (scratch / "a").chmod(0)
    assert remove_scratch(scratch)
    assert not scratch.exists()


def test_a_tree_deeper_than_a_path_can_be_long_is_removed(scratch: Path) -> None:
    here = os.open(scratch, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("deeper", dir_fd=here)
        below = os.open("deeper", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert remove_scratch(scratch)
    assert not scratch.exists()


def test_links_are_removed_and_not_followed(scratch: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    (scratch / "folder").symlink_to(kept)
    (scratch / "file").symlink_to(kept / "file")
    assert remove_scratch(scratch)
    assert (kept / "file").exists()


def test_a_scratch_folder_that_became_a_link_is_left_alone_and_said_so(scratch: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    scratch.rmdir()
    scratch.symlink_to(kept)
    assert not remove_scratch(scratch)
    assert kept.exists()


def test_a_scratch_folder_that_is_gone_is_removed_already(tmp_path: Path) -> None:
    assert remove_scratch(tmp_path / "none")


def test_a_tool_writes_its_own_files_below_its_scratch_folder() -> None:
    environment = tool_environment(Path("/scratch"))
    assert {environment[name] for name in ("HOME", "TMPDIR")} == {"/scratch"}
    assert environment["XDG_CACHE_HOME"].startswith("/scratch/")


def test_no_variable_of_the_worker_reaches_a_tool_but_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    names = set(tool_environment(Path("/scratch")))
    assert not names & {"PYTHONPATH", "AWS_SECRET_ACCESS_KEY"}


def test_no_pool_can_give_a_variable_that_the_worker_sets() -> None:
    assert [name for name in clean_environment(Path("/scratch")) if may_be_handed_on(name)] == []


def test_what_a_pool_gives_reaches_tools_and_not_the_git_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "_given", {"GREETING": "hello"})
    assert tool_environment(Path("/scratch"))["GREETING"] == "hello"
    assert "GREETING" not in clean_environment(Path("/scratch"))
