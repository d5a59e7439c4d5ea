"""The store in SQL that SQLite and PostgreSQL both understand; what differs is in store.sqlite and store.postgres."""

from .store import SqlStore

__all__ = ["SqlStore"]
