"""The store on a PostgreSQL server: for operators of which another one takes over."""

from .store import PostgresStore, open_postgres

__all__ = ["PostgresStore", "open_postgres"]
