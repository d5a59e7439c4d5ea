"""Outputs, reports, memory and tokens in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple

from mahavishnu_operator.store.records import MemoryKey, OutputPiece, ReportRecord, TaskKey, TokenRecord
from mahavishnu_operator.support.errors import NotFound
from mahavishnu_operator.support.group_commit import Session

from .references import tie


def append_output(connection: Session, pieces: Sequence[OutputPiece]) -> None:
    """Keep pieces of tasks that exist; the same piece again is ignored."""
    connection.executemany(
        "INSERT INTO outputs (job, task, attempt, stream, start, data) SELECT ?, ?, ?, ?, ?, ?"
        " WHERE EXISTS (SELECT 1 FROM tasks WHERE job = ? AND task = ?) ON CONFLICT DO NOTHING",
        [(p.key.job, p.key.task, p.attempt, p.stream, p.offset, p.data, p.key.job, p.key.task) for p in pieces],
    )


def read_output(
    connection: Session, key: TaskKey, *, attempt: int | None, stream: str, offset: int, limit: int
) -> bytes:
    """Up to `limit` bytes from `offset`; b'' at the end or where nothing is known."""
    if attempt is None:
        sql = "SELECT attempts FROM tasks WHERE job = ? AND task = ?"
        row = connection.execute(sql, (key.job, key.task)).fetchone()
        attempt = row[0] if row else 0
    rows = connection.execute(
        "SELECT start, data FROM outputs WHERE job = ? AND task = ? AND attempt = ? AND stream = ?"
        " AND start + length(data) > ? AND start < ? ORDER BY start",
        (key.job, key.task, attempt, stream, offset, offset + limit),
    )
    page = bytearray()
    for start, data in rows:
        wanted = offset + len(page)
        if start > wanted:  # a piece is missing: what follows would stand in a wrong place
            break
        page += data[wanted - start :]
    return bytes(page[:limit])


def put_report(connection: Session, report: ReportRecord) -> None:
    """Insert or replace, and tie the blob to the job. NotFound: there is no such job."""
    if connection.execute("SELECT 1 FROM jobs WHERE uid = ?", (report.job,)).fetchone() is None:
        raise NotFound(f"there is no job {report.job} to keep a report for", hint="it was forgotten: drop the report")
    tie(connection, [(report.sha256, report.job)])
    connection.execute(
        "INSERT INTO reports (job, sha256, size_bytes, truncated, summary, stored_at) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (job) DO UPDATE SET sha256 = excluded.sha256, size_bytes = excluded.size_bytes,"
        " truncated = excluded.truncated, summary = excluded.summary, stored_at = excluded.stored_at",
        (report.job, report.sha256, report.size_bytes, int(report.truncated), report.summary, report.stored_at),
    )


def read_report(connection: Session, uid: str) -> ReportRecord | None:
    """The report, if stored."""
    sql = "SELECT job, sha256, size_bytes, truncated, summary, stored_at FROM reports WHERE job = ?"
    row = connection.execute(sql, (uid,)).fetchone()
    return None if row is None else ReportRecord(row[0], row[1], row[2], bool(row[3]), bytes(row[4]), row[5])


_MEMORY = "pool, tool, tool_version, config_digest, environment_digest, path, content, siblings"


def remember(connection: Session, keys: Sequence[MemoryKey], *, at: float) -> None:
    """Mark as good; a later time wins."""
    connection.executemany(
        f"INSERT INTO memory ({_MEMORY}, good_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
        f" ON CONFLICT ({_MEMORY}) DO UPDATE SET good_at = excluded.good_at WHERE memory.good_at < excluded.good_at",
        [(*astuple(key), at) for key in keys],
    )


def recall(connection: Session, keys: Sequence[MemoryKey], *, since: float) -> set[MemoryKey]:
    """Those marked good at or after `since`."""
    where = " AND ".join(f"{column} = ?" for column in _MEMORY.split(", "))
    sql = f"SELECT 1 FROM memory WHERE {where} AND good_at >= ?"  # noqa: S608
    return {key for key in keys if connection.execute(sql, (*astuple(key), since)).fetchone()}


def put_token(connection: Session, token: TokenRecord) -> None:
    """Let a worker in."""
    connection.execute("INSERT INTO tokens VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", astuple(token))


def find_token(connection: Session, token_sha256: str) -> TokenRecord | None:
    """Whose token it is."""
    sql = "SELECT token_sha256, pool, worker, issued_at FROM tokens WHERE token_sha256 = ?"
    row = connection.execute(sql, (token_sha256,)).fetchone()
    return None if row is None else TokenRecord(*row)


def drop_tokens(connection: Session, *, pool: str, worker: str | None) -> None:
    """Forget the tokens of one worker, or of a whole pool."""
    if worker is None:
        connection.execute("DELETE FROM tokens WHERE pool = ?", (pool,))
    else:
        connection.execute("DELETE FROM tokens WHERE pool = ? AND worker = ?", (pool, worker))
