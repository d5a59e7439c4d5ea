"""Fixtures: one server a test run (a worker of xdist), one database a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .server import PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running server. Tests that stop it start it again."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def database(postgres: PostgresServer) -> str:
    """The URL of an empty database."""
    return postgres.make_database()
