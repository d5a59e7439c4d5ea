"""The operator in storms: whatever is killed or stopped of it, its workers, its cluster and its database, each task
counts once.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.controlplane import ControlPlane
from tests.postgres.server import PostgresServer

from .clustered import Clustered
from .processes import Family
from .weather import weather
from .witness import Witness

TASK_SECONDS = 0.15


@pytest.fixture(autouse=True)
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a worker may be silent for longer than its lease lasts."""
    monkeypatch.setenv("MAHAVISHNU_LEASE_SECONDS", "2")


def storm(
    folder: Path, plane: ControlPlane, request: pytest.FixtureRequest, *, seed: int, count: int, tasks: int
) -> None:
    witness = Witness(folder / "witness")
    with (
        PostgresServer() as server,
        Family() as family,
        Clustered(folder, witness, plane, server, tasks=tasks, seconds=TASK_SECONDS) as site,
    ):
        weather(site, family, witness, request, seed=seed, count=count)


@pytest.mark.timeout(300)
def test_each_task_counts_once_whatever_strikes_an_operator(
    tmp_path: Path, control_plane: ControlPlane, request: pytest.FixtureRequest
) -> None:
    storm(tmp_path, control_plane, request, seed=1, count=12, tasks=36)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_each_task_counts_once_in_a_long_storm(
    tmp_path: Path, control_plane: ControlPlane, request: pytest.FixtureRequest
) -> None:
    storm(tmp_path, control_plane, request, seed=2, count=40, tasks=160)
