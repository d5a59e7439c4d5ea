"""docs/pitfalls.md names tests; a test that was renamed or removed is noticed here."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = [line for line in (ROOT / "docs" / "pitfalls.md").read_text().splitlines() if re.match(r"\| \d+ \|", line)]


def functions_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_there_is_a_row_for_each_of_the_fifteen() -> None:
    assert [row.split("|")[1].strip() for row in ROWS] == [str(number) for number in range(1, 16)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_the_tests_that_are_named_exist(row: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row)
    assert named
    assert [f"{path}::{name}" for path, name in named if name not in functions_in(path)] == []
