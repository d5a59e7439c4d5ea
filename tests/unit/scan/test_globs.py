"""The globs of include and exclude."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mahavishnu_operator.scan.globs import compile_globs
from mahavishnu_operator.support.errors import InvalidInput


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.py", "a.py", True),
        ("*.py", "deep/er/a.py", True),
        ("*.py", "a.pyc", False),
        ("tests", "src/tests/a.py", True),
        ("tests", "src/tests_of_it/a.py", False),
        ("tests/", "tests/a.py", True),
        ("tests/", "src/tests/deep/a.py", True),
        ("tests/", "tests", False),
        ("src/*.py", "src/a.py", True),
        ("src/*.py", "src/deep/a.py", False),
        ("src/*.py", "more/src/a.py", False),
        ("./src/*.py", "src/a.py", True),
        ("/a.py", "a.py", True),
        ("/a.py", "deep/a.py", False),
        ("src/**", "src/deep/a.py", True),
        ("src/**", "src", False),
        ("**/a.py", "a.py", True),
        ("**/a.py", "x/y/a.py", True),
        ("src/**/a.py", "src/a.py", True),
        ("src/**/a.py", "src/x/y/a.py", True),
        ("src/deep/", "src/deep/x/a.py", True),
        ("src/deep/", "more/src/deep/a.py", False),
        ("**", "any/thing", True),
        ("?.py", "a.py", True),
        ("?.py", "/.py", False),
        ("a*b*c", "a1b2b3c", True),
        ("a*b*c", "a1c2b", False),
        ("**/x/**/y", "a/x/b/x/c/y", True),
        ("**/x/**/y", "a/y/x", False),
        ("[ab].py", "b.py", True),
        ("[!ab].py", "b.py", False),
        ("[a-c]x", "bx", True),
        ("[z-a]x", "bx", False),
        ("[a", "[a", True),
        ("a.b", "axb", False),
        ("*.py", "new\nline.py", True),
        ("*.py", "\udcff.py", True),
    ],
)
def test_a_glob_matches_as_documented(pattern: str, path: str, matches: bool) -> None:
    assert compile_globs([pattern])(path) is matches


@pytest.mark.parametrize("pattern", ["", "/", "./", "//"])
def test_a_glob_that_names_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidInput, match="names no file"):
        compile_globs([pattern])


@given(st.text(alphabet="ab*?[]!-/.\\^", min_size=1, max_size=12), st.text(alphabet="ab/.", max_size=30))
def test_any_pattern_is_either_refused_or_answers(pattern: str, path: str) -> None:
    try:
        matches = compile_globs([pattern])
    except InvalidInput:
        return
    assert matches(path) in (True, False)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [("*" * 60 + "b", "a" * 200), ("*a" * 120 + "b", "a" * 255), ("**/a/" * 50 + "b", "a/" * 2000 + "c")],
)
def test_a_pattern_made_to_be_slow_answers_at_once(pattern: str, path: str) -> None:
    begun = time.perf_counter()
    assert not compile_globs([pattern])(path)
    assert time.perf_counter() - begun < 1.0
