"""The store on one SQLite file and a folder of blobs: for a process that owns both."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from mahavishnu_operator.support.database import Database

from .blob_folder import FolderBlobs
from .schema import MIGRATIONS
from .sql import SqlStore


class SqliteStore(SqlStore):
    """See store.protocol.Store. `folder` is made; a second process that opens it is refused (Conflict)."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        database = Database(folder / "engine.db", MIGRATIONS)
        super().__init__(database, FolderBlobs(folder / "blobs"), clock=clock)
