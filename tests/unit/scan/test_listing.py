"""Which files a scan looks at."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mahavishnu_operator.scan.listing import MAX_FILE_BYTES, ListedFile, Listing, list_files
from mahavishnu_operator.support.errors import InvalidInput

from .trees import git, repository, write

NOBODY = 65534


def paths(listing: Listing) -> list[str]:
    return [file.path for file in listing.files]


def reasons(listing: Listing) -> dict[str, str]:
    return {each.path: each.reason for each in listing.skipped}


@contextmanager
def without_privilege() -> Iterator[None]:
    """As somebody whom file permissions hold back."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_plain_folder_is_walked_without_the_folders_of_tools(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "pkg/b.py", "node_modules/x.js", "pkg/__pycache__/b.pyc", ".venv/lib/c.py", ".hg/store")
    write(tmp_path, "env/pyvenv.cfg", "env/lib/d.py")
    listing = list_files(tmp_path)
    assert (listing.listed_by, paths(listing), listing.skipped) == ("walk", ["a.py", "pkg/b.py"], ())


def test_a_package_named_venv_is_no_virtual_environment(tmp_path: Path) -> None:
    write(tmp_path, "venv/__init__.py")
    assert paths(list_files(tmp_path)) == ["venv/__init__.py"]


def test_files_carry_their_size_and_come_in_the_order_of_their_bytes(tmp_path: Path) -> None:
    write(tmp_path, "b", "B", "a/c", content=b"12345")
    assert list_files(tmp_path).files == (ListedFile("B", 5), ListedFile("a/c", 5), ListedFile("b", 5))


def test_git_lists_what_is_tracked_and_what_is_not_ignored(tmp_path: Path) -> None:
    root = repository(tmp_path, "tracked.py", "gone.py")
    write(root, ".gitignore", content=b"*.log\n")
    write(root, "new.py", "noise.log")
    (root / "gone.py").unlink()
    listing = list_files(root)
    assert (listing.listed_by, paths(listing)) == ("git", [".gitignore", "new.py", "tracked.py"])


def test_a_folder_inside_a_repository_has_paths_of_its_own(tmp_path: Path) -> None:
    root = repository(tmp_path, "top.py", "sub/in.py")
    listing = list_files(root / "sub")
    assert (listing.listed_by, paths(listing)) == ("git", ["in.py"])


def test_a_folder_that_git_ignores_is_walked_when_it_is_asked_for(tmp_path: Path) -> None:
    root = repository(tmp_path, "top.py")
    write(root, ".gitignore", content=b"build/\n")
    write(root, "build/made.py")
    assert paths(list_files(root / "build")) == ["made.py"]


def test_an_untracked_virtual_environment_is_left_out(tmp_path: Path) -> None:
    root = repository(tmp_path, "a.py")
    write(root, "env/pyvenv.cfg", "env/lib/b.py", "node_modules/c/index.js")
    assert paths(list_files(root)) == ["a.py"]


def test_a_merge_conflict_lists_a_file_once(tmp_path: Path) -> None:
    root = repository(tmp_path, "a.py")
    git(root, "checkout", "-q", "-b", "other")
    write(root, "a.py", content=b"other\n")
    git(root, "commit", "-qam", "other")
    git(root, "checkout", "-q", "-")
    write(root, "a.py", content=b"mine\n")
    git(root, "commit", "-qam", "mine")
    with pytest.raises(Exception, match="non-zero exit status"):
        git(root, "merge", "other")
    assert paths(list_files(root)) == ["a.py"]


def test_a_linked_work_tree_is_listed_by_git(tmp_path: Path) -> None:
    root = repository(tmp_path / "main", "a.py")
    git(root, "worktree", "add", "-q", str(tmp_path / "linked"))
    listing = list_files(tmp_path / "linked")
    assert (listing.listed_by, paths(listing)) == ("git", ["a.py"])


def test_repositories_inside_are_named_and_left_out(tmp_path: Path) -> None:
    root = repository(tmp_path / "outer", "a.py")
    repository(root / "nested", "b.py")
    inner = repository(tmp_path / "inner", "c.py")
    git(root, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "sub")
    listing = list_files(root)
    assert paths(listing) == [".gitmodules", "a.py"]
    assert set(reasons(listing)) == {"nested", "sub"}
    assert all("repository of its own" in reason for reason in reasons(listing).values())


def test_a_broken_repository_is_walked_and_says_so(tmp_path: Path) -> None:
    write(tmp_path, "a.py")
    (tmp_path / ".git").mkdir()
    listing = list_files(tmp_path)
    assert (listing.listed_by, paths(listing)) == ("walk", ["a.py"])
    assert "not a git repository" in reasons(listing)[".git"]


def test_without_git_every_file_is_listed_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = repository(tmp_path, "a.py")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    listing = list_files(root)
    assert (listing.listed_by, paths(listing)) == ("walk", ["a.py"])
    assert reasons(listing)[".git"].startswith("git is not installed")


@pytest.mark.parametrize("with_git", [False, True])
def test_names_of_any_bytes_are_listed(tmp_path: Path, with_git: bool) -> None:
    names = [
        b"-rf.py",
        b"new\nline.py",
        b"spa ce.py",
        b'"quoted".py',
        b"caf\xe9.py",
        "ü.py".encode(),
        b"back\\slash.py",
    ]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"")
    if with_git:
        repository(tmp_path)
    assert [os.fsencode(path) for path in paths(list_files(tmp_path))] == sorted(names)


@pytest.mark.parametrize("with_git", [False, True])
def test_links_are_not_followed_and_named_when_they_leave_the_folder(tmp_path: Path, with_git: bool) -> None:
    root = tmp_path / "root"
    write(tmp_path, "secret/key.py")
    write(root, "a.py", "pkg/b.py")
    (root / "inside.py").symlink_to("a.py")
    (root / "folder").symlink_to("pkg")
    (root / "loop").symlink_to("loop")
    (root / "outside.py").symlink_to("../secret/key.py")
    (root / "away").symlink_to(tmp_path / "secret")
    if with_git:
        repository(root)
    listing = list_files(root)
    assert paths(listing) == ["a.py", "pkg/b.py"]
    assert set(reasons(listing)) == {"outside.py", "away"}


def test_a_tracked_file_behind_a_new_link_is_not_reached(tmp_path: Path) -> None:
    root = repository(tmp_path / "root", "pkg/a.py")
    write(tmp_path, "secret/a.py")
    (root / "pkg/a.py").unlink()
    (root / "pkg").rmdir()
    (root / "pkg").symlink_to("../secret")
    assert paths(list_files(root)) == []


def test_what_is_no_regular_file_or_too_large_is_skipped_with_a_reason(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "large.bin").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with (tmp_path / "fits.bin").open("wb") as file:
        file.truncate(MAX_FILE_BYTES)
    listing = list_files(tmp_path)
    assert paths(listing) == ["fits.bin"]
    assert reasons(listing) == {
        "large.bin": "33554433 bytes: larger than 32 MiB",
        "pipe": "not a regular file",
    }


def test_what_cannot_be_read_is_skipped_with_a_reason(tmp_path: Path) -> None:
    write(tmp_path, "open.py", "closed.py", "locked/x.py")
    (tmp_path / "closed.py").chmod(0)
    (tmp_path / "locked").chmod(0)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    try:
        with without_privilege():
            listing = list_files(tmp_path)
    finally:
        (tmp_path / "locked").chmod(0o755)
    assert paths(listing) == ["open.py"]
    assert reasons(listing) == {
        "closed.py": "no permission to read it",
        "locked": "cannot list it: Permission denied",
    }


def test_include_and_exclude_choose_among_the_files(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "a.txt", "tests/b.py")
    assert paths(list_files(tmp_path, include=["*.py"], exclude=["tests/"])) == ["a.py"]


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_root_that_is_no_folder_is_refused_in_words(tmp_path: Path, name: str) -> None:
    write(tmp_path, "file")
    with pytest.raises(InvalidInput, match=f"cannot list .*{name}"):
        list_files(tmp_path / name)
