"""The store on one SQLite file and a folder of blobs: for a process that owns both."""

from .store import SqliteStore

__all__ = ["SqliteStore"]
