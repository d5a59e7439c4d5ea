"""The histories of the unit test, played on PostgreSQL."""

from __future__ import annotations

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mahavishnu_operator.store.postgres import PostgresStore
from tests.postgres.server import PostgresServer
from tests.unit.store.test_any_history import play, steps


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(steps, max_size=20))
def test_every_history_counts_each_task_once(postgres: PostgresServer, history: list[tuple[str, str, int]]) -> None:
    url = postgres.make_database()
    asyncio.run(play(lambda clock: PostgresStore(url, clock=clock), history))
