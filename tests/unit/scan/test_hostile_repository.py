"""A repository's own configuration starts nothing while its files are listed.

Each test first shows that plain git does start it: otherwise it would prove nothing.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mahavishnu_operator.scan.listing import list_files

from .trees import git, repository, script


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "was-started"


def test_a_file_system_monitor_is_not_started(tmp_path: Path, mark: Path) -> None:
    root = repository(tmp_path / "root", "a.py")
    git(root, "config", "core.fsmonitor", str(script(tmp_path / "monitor", mark=mark)))
    git(root, "ls-files", "--others")
    assert mark.exists()
    mark.unlink()
    listing = list_files(root)
    assert [file.path for file in listing.files] == ["a.py"]
    assert not mark.exists()


def test_missing_objects_are_not_fetched_by_a_command_of_the_repository(tmp_path: Path, mark: Path) -> None:
    root = repository(tmp_path / "root", "kept/in/a.py", "left/deep/b.py", "top.py")
    git(root, "sparse-checkout", "init", "--cone", "--sparse-index")
    git(root, "sparse-checkout", "set", "kept")
    tree = git(root, "rev-parse", "HEAD:left").decode().strip()
    (root / ".git/objects" / tree[:2] / tree[2:]).unlink()
    for key, value in {
        "core.repositoryformatversion": "1",
        "extensions.partialclone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.url": str(root),
        "remote.origin.uploadpack": str(script(tmp_path / "upload", mark=mark)),
    }.items():
        git(root, "config", key, value)
    git(root, "ls-files")
    assert mark.exists()
    mark.unlink()
    listing = list_files(root)
    assert [file.path for file in listing.files] == ["kept/in/a.py", "top.py"]
    assert not mark.exists()


def test_the_repository_cannot_move_its_work_tree(tmp_path: Path) -> None:
    root = repository(tmp_path / "root", "a.py")
    repository(tmp_path / "elsewhere", "secret.py")
    git(root, "config", "core.worktree", str(tmp_path / "elsewhere"))
    assert [file.path for file in list_files(root).files] == ["a.py"]


def test_git_variables_of_the_caller_are_not_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = repository(tmp_path / "root", "a.py")
    other = repository(tmp_path / "other", "b.py")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    assert [file.path for file in list_files(root).files] == ["a.py"]
