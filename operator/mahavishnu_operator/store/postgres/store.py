"""PostgresStore: the store on a PostgreSQL server, blobs in it or in a folder that all replicas share.

The epoch's row is locked by every write that names one: writes of two dispatchers stand in line, and the one that was
replaced finds the higher epoch when its turn comes, however long it was stopped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from mahavishnu_operator.store.blob_folder import FolderBlobs
from mahavishnu_operator.store.schema import MIGRATIONS
from mahavishnu_operator.store.sql import SqlStore

from .blobs import TableBlobs
from .connecting import Server
from .database import PATIENCE_SECONDS, PostgresDatabase


class PostgresStore(SqlStore):
    """See store.protocol.Store. `blob_folder` None: blobs are rows.

    Opening blocks, and raises StoreUnavailable or InvalidInput; from an event loop use open_postgres.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        blob_folder: Path | None = None,
        clock: Callable[[], float] = time.time,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        database = PostgresDatabase(Server(conninfo), MIGRATIONS, patience=patience)
        blobs = TableBlobs(database, clock=clock) if blob_folder is None else FolderBlobs(blob_folder)
        super().__init__(database, blobs, fence="SELECT epoch, holder FROM epoch FOR UPDATE", clock=clock)


async def open_postgres(conninfo: str, *, blob_folder: Path | None = None) -> PostgresStore:
    """The store, opened on a thread."""
    return await asyncio.to_thread(PostgresStore, conninfo, blob_folder=blob_folder)
