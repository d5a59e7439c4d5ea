from __future__ import annotations

from pathlib import Path

import pytest

from mahavishnu_operator.cli import staffing
from mahavishnu_operator.cli.staffing import all_workers, first_workers


@pytest.fixture(autouse=True)
def eight_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staffing, "count_processors", lambda: 8)


def test_one_file_has_no_more_first_workers_than_tools(tmp_path: Path) -> None:
    (tmp_path / "a.py").touch()
    assert first_workers(tmp_path, tools=3, most=256) == 3


def test_a_large_folder_has_one_first_worker_a_processor(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"{number}.py").touch()
    assert first_workers(tmp_path, tools=1, most=256) == 8
    assert first_workers(tmp_path, tools=1, most=2) == 2


def test_files_that_no_scan_looks_at_make_no_worker(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    for number in range(9):
        (tmp_path / ".git" / f"{number}.py").touch()
    assert first_workers(tmp_path, tools=1, most=256) == 1


@pytest.mark.parametrize(("tasks", "most", "workers"), [(0, 4, 1), (3, 256, 3), (300, 256, 256), (9, 2, 2)])
def test_a_known_plan_bounds_the_workers(tasks: int, most: int, workers: int) -> None:
    assert all_workers(tasks=tasks, most=most) == workers
