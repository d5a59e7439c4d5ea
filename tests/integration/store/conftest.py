"""The same holder as in the unit tests of the store, on a real PostgreSQL server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mahavishnu_operator.store.postgres import PostgresStore
from tests.unit.store.conftest import Holder


@pytest.fixture(params=["blobs as rows", "blobs in a folder"])
async def held(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> AsyncIterator[Holder]:
    folder = tmp_path / "blobs" if request.param == "blobs in a folder" else None
    held = await Holder.open(lambda clock: PostgresStore(database, blob_folder=folder, clock=clock))
    yield held
    await held.store.close()
