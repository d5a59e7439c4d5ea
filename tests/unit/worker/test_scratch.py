"""The folder of an agent, and what those before it left."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mahavishnu_operator.worker.scratch_space import scratch_space


@pytest.fixture
def dead() -> str:
    """The number of a process that has ended."""
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    return str(process.pid)


def test_what_a_dead_agent_left_is_removed(tmp_path: Path, dead: str) -> None:
    (tmp_path / "scratch" / dead / "task").mkdir(parents=True)
    with scratch_space(tmp_path) as own:
        assert list((tmp_path / "scratch").iterdir()) == [own]


def test_what_the_runner_of_a_dead_agent_made_anew_is_removed_in_the_end(tmp_path: Path, dead: str) -> None:
    with scratch_space(tmp_path):
        (tmp_path / "scratch" / dead / "task").mkdir(parents=True)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_the_folder_of_a_living_agent_stays(tmp_path: Path) -> None:
    other = tmp_path / "scratch" / str(os.getppid())
    other.mkdir(parents=True)
    with scratch_space(tmp_path):
        pass
    assert other.is_dir()
