"""Module names as mypy has them: checked against mypy's own rules, where it is installed with its sources."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mypy.find_sources import InvalidSourceList, SourceFinder
from mypy.fscache import FileSystemCache
from mypy.options import Options

from mahavishnu_operator.scan.tools.mypy_modules import Misplaced, Modules

from .trees import write

NAMES = ["a", "b", "no-name", "pkg", "x-stubs", "3d"]
folders = st.lists(st.sampled_from(NAMES), max_size=3).map("/".join)
paths = st.tuples(folders, st.sampled_from(["m.py", "m.pyi", "__init__.py", "__init__.pyi"])).map(
    lambda pair: "/".join(pair).lstrip("/")
)


@given(st.sets(paths, min_size=1, max_size=6))
def test_a_file_is_the_module_that_mypy_takes_it_for(tmp_path_factory: pytest.TempPathFactory, files: set[str]) -> None:
    root = tmp_path_factory.mktemp("tree")
    write(root, *files)
    finder, modules = SourceFinder(FileSystemCache(), Options()), Modules(root)
    for path in files:
        try:
            expected = finder.crawl_up(os.path.realpath(root / path))
        except InvalidSourceList:
            with pytest.raises(Misplaced):
                modules.locate(path)
        else:
            assert modules.locate(path) == expected


def test_of_files_with_one_name_a_stub_stays_before_a_package_before_a_module(tmp_path: Path) -> None:
    files = ["a.py", "a.pyi", "a/__init__.py", "b.py", "b/__init__.py", "c.py"]
    write(tmp_path, *files)
    gone = {each.path: each.reason for each in Modules(tmp_path).duplicates(files)}
    assert set(gone) == {"a.py", "a/__init__.py", "b.py"}
    assert "b is b/__init__.py already" in gone["b.py"]


def test_all_files_searched_beside_a_shadow_are_named_and_none_in_the_root(tmp_path: Path) -> None:
    files = ["top.py", "made/types.py", "made/other.py", "made/pkg/__init__.py", "made/pkg/deep.py", "pkg/__init__.py"]
    write(tmp_path, *files)

    def beside(shadow: str, module: str) -> set[str]:
        found = Modules(tmp_path).beside_shadow(files, shadow=shadow, module=module, why="why")
        return {each.path for each in found}

    assert beside("made/types.py", "types") == {each for each in files if each.startswith("made/")}
    assert beside("made/collections/__init__.py", "collections") == beside("made/types.py", "types")
    assert beside("made/collections/abc.py", "collections.abc") == beside("made/types.py", "types")
    assert beside("types.py", "types") == set()
