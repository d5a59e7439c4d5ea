"""Which store: a folder of this process's own, or a PostgreSQL server that replicas share."""

from __future__ import annotations

import asyncio
from pathlib import Path

from .protocol import Store
from .sqlite import SqliteStore


async def open_store(folder: Path, *, url: str = "", blob_folder: Path | None = None) -> Store:
    """The store at `url` (PostgreSQL; blobs in it, or in `blob_folder`), or the SQLite store in `folder`.

    Raises what opening raises: Conflict, InvalidInput, StoreUnavailable.
    """
    if not url:
        return await asyncio.to_thread(SqliteStore, folder)
    from .postgres import open_postgres  # psycopg is loaded where a database is used

    return await open_postgres(url, blob_folder=blob_folder)
