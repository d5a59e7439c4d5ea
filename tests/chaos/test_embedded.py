"""`mahavishnu up` in storms: whatever is killed, stopped or set wrong, each task counts once and nothing is left."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from .disk import small_disk
from .embedded import DISK_FAULTS, Embedded
from .processes import Family
from .reading import sqlite_query
from .weather import weather
from .witness import Witness

TASK_SECONDS = 0.1
DISK_MEGABYTES = 24


def storm(folder: Path, request: pytest.FixtureRequest, *, seed: int, count: int, tasks: int) -> None:
    witness = Witness(folder / "witness")
    data = folder / "data"
    query = sqlite_query(data / "engine.db")
    with (
        Family() as family,
        Embedded(folder, witness, tasks=tasks, seconds=TASK_SECONDS, query=query, data=data) as site,
    ):
        weather(site, family, witness, request, seed=seed, count=count)


def storm_on_a_full_disk(folder: Path, request: pytest.FixtureRequest, *, seed: int, count: int, tasks: int) -> None:
    witness = Witness(folder / "witness")

    def server() -> psutil.Process:
        return psutil.Process(site.server.pid)

    with small_disk(folder / "disk", megabytes=DISK_MEGABYTES, limited=server) as disk, Family() as family:
        data = disk.folder / "data"
        query = sqlite_query(data / "engine.db")
        with Embedded(folder, witness, tasks=tasks, seconds=TASK_SECONDS, query=query, data=data) as site:
            site.disk, site.faults, site.name = disk, DISK_FAULTS, f"embedded-{disk.how}"
            weather(site, family, witness, request, seed=seed, count=count)


@pytest.mark.timeout(300)
def test_each_task_counts_once_whatever_strikes_a_server(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    storm(tmp_path, request, seed=1, count=10, tasks=30)


@pytest.mark.timeout(300)
def test_each_task_counts_once_though_the_disk_is_full_now_and_then(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    storm_on_a_full_disk(tmp_path, request, seed=1, count=7, tasks=21)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", [2, 3])
def test_each_task_counts_once_in_a_long_storm(tmp_path: Path, request: pytest.FixtureRequest, seed: int) -> None:
    storm(tmp_path, request, seed=seed, count=50, tasks=200)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_each_task_counts_once_in_a_long_storm_on_a_full_disk(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    storm_on_a_full_disk(tmp_path, request, seed=2, count=40, tasks=160)
