"""Sources of jobs in SQL: which archive a job's files are, and who may name it.

What must stay true: a row stands without a row of the job, because the files are there first; a blob is found through
the namespace that brought it, never by its digest alone.
"""

from __future__ import annotations

from mahavishnu_operator.store.records import SourceRecord
from mahavishnu_operator.support.group_commit import Session

_COLUMNS = "job, namespace, sha256, size_bytes, stored_at, revision, base_revision"


def put(connection: Session, source: SourceRecord) -> None:
    """Insert or replace."""
    connection.execute(
        f"INSERT INTO sources ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
        " ON CONFLICT (job) DO UPDATE SET namespace = excluded.namespace, sha256 = excluded.sha256,"
        " size_bytes = excluded.size_bytes, stored_at = excluded.stored_at, revision = excluded.revision,"
        " base_revision = excluded.base_revision",
        (
            source.job,
            source.namespace,
            source.sha256,
            source.size_bytes,
            source.stored_at,
            source.revision,
            source.base_revision,
        ),
    )


def of_job(connection: Session, job: str) -> SourceRecord | None:
    """The source of a job."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM sources WHERE job = ?", (job,)).fetchone()  # noqa: S608
    return None if row is None else SourceRecord(*row)


def find(connection: Session, namespace: str, sha256: str) -> SourceRecord | None:
    """A source of that content which some job of the namespace has."""
    sql = f"SELECT {_COLUMNS} FROM sources WHERE sha256 = ? AND namespace = ? ORDER BY stored_at LIMIT 1"  # noqa: S608
    row = connection.execute(sql, (sha256, namespace)).fetchone()
    return None if row is None else SourceRecord(*row)


def namespaces_of(connection: Session, sha256: str) -> frozenset[str]:
    """The namespaces whose jobs have that source."""
    rows = connection.execute("SELECT DISTINCT namespace FROM sources WHERE sha256 = ?", (sha256,))
    return frozenset(namespace for (namespace,) in rows)


def every(connection: Session) -> list[SourceRecord]:
    """All of them."""
    return [SourceRecord(*row) for row in connection.execute(f"SELECT {_COLUMNS} FROM sources")]  # noqa: S608
