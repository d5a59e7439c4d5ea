"""A change of a tree is seen."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mahavishnu_operator.worker.scratch import remove_scratch
from mahavishnu_operator.worker.seals import lock_tree, seal
from tests.unit.scan.trees import write


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    write(root, "a.py", "pkg/b.py", content=b"12345")
    (root / "link").symlink_to("a.py")
    lock_tree(root)
    return root


def rewrite_and_set_times_back(tree: Path) -> None:
    path = tree / "pkg/b.py"
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"54321")
    path.chmod(0o444)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_by_another(tree: Path) -> None:
    (tree / "pkg").chmod(0o755)
    (tree / "pkg/new").write_bytes(b"12345")
    (tree / "pkg/new").replace(tree / "pkg/b.py")


def add(tree: Path) -> None:
    tree.chmod(0o755)
    (tree / "new.py").touch()


def remove(tree: Path) -> None:
    tree.chmod(0o755)
    (tree / "a.py").unlink()


def link_elsewhere(tree: Path) -> None:
    tree.chmod(0o755)
    (tree / "link").unlink()
    (tree / "link").symlink_to("pkg")


def make_executable(tree: Path) -> None:
    (tree / "a.py").chmod(0o555)


def test_a_tree_that_was_only_read_keeps_its_seal(tree: Path) -> None:
    before = seal(tree)
    assert (tree / "pkg/b.py").read_bytes() == b"12345"
    assert seal(tree) == before
    assert before[1] == 10 + len("a.py")


@pytest.mark.parametrize(
    "change", [rewrite_and_set_times_back, replace_by_another, add, remove, link_elsewhere, make_executable]
)
def test_every_change_breaks_the_seal(tree: Path, change: Callable[[Path], None]) -> None:
    before, _ = seal(tree)
    change(tree)
    assert seal(tree)[0] != before


def test_a_locked_tree_can_be_removed(tree: Path) -> None:
    assert remove_scratch(tree)
