"""A dispatcher and its workers over a faulty network: whatever is killed, stopped, cut or set wrong, each task counts
once.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.postgres.server import PostgresServer

from .fleet import Fleet
from .fleet_on_postgres import FleetOnPostgres
from .processes import Family
from .reading import sqlite_query
from .weather import weather
from .witness import Witness

TASK_SECONDS = 0.1


def storm_on_sqlite(folder: Path, request: pytest.FixtureRequest, *, seed: int, count: int, tasks: int) -> None:
    witness = Witness(folder / "witness")
    query = sqlite_query(folder / "store" / "engine.db")
    with Family() as family, Fleet(folder, witness, tasks=tasks, seconds=TASK_SECONDS, query=query) as fleet:
        weather(fleet, family, witness, request, seed=seed, count=count)


def storm_on_postgres(folder: Path, request: pytest.FixtureRequest, *, seed: int, count: int, tasks: int) -> None:
    witness = Witness(folder / "witness")
    with (
        PostgresServer() as server,
        Family() as family,
        FleetOnPostgres(folder, witness, server, tasks=tasks, seconds=TASK_SECONDS) as fleet,
    ):
        weather(fleet, family, witness, request, seed=seed, count=count)


@pytest.mark.timeout(300)
def test_each_task_counts_once_whatever_strikes_a_fleet(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    storm_on_sqlite(tmp_path, request, seed=1, count=19, tasks=57)


@pytest.mark.timeout(300)
def test_each_task_counts_once_though_the_database_is_killed(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    storm_on_postgres(tmp_path, request, seed=1, count=12, tasks=48)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", [2, 3])
def test_each_task_counts_once_in_a_long_storm(tmp_path: Path, request: pytest.FixtureRequest, seed: int) -> None:
    storm_on_sqlite(tmp_path, request, seed=seed, count=60, tasks=240)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_each_task_counts_once_in_a_long_storm_on_postgres(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    storm_on_postgres(tmp_path, request, seed=2, count=50, tasks=200)
