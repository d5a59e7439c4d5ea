"""Which blobs belong to which job, and which belong to none and may go.

The pressure: a blob is put before anything names it (a worker uploads, then delivers; a plan lists its
files, and the tasks that read them are added later), so "nobody names it" alone does not make it waste.
What must stay true: a blob goes only when no job names it, it is older than an hour, and no job that is
still open was there when it was put; and the check and the deletion run on the writer's thread, so that
nothing can name a blob in between.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from mahavishnu_operator.support.group_commit import Session

YOUNG_SECONDS = 3600.0
MARGIN_SECONDS = 60.0  # a file's time and the clock of rows may differ by a step of the clock
_DIGEST = re.compile(r"[0-9a-f]{64}")


class _Source(msgspec.Struct):
    sha256: str = ""


class _Names(msgspec.Struct):
    """The fields of a wire.TaskSpec or wire.TaskResult that name blobs; all others are passed over."""

    files_sha256: str = ""
    payload_sha256: str = ""
    source: _Source | None = None


_NAMES = msgspec.json.Decoder(_Names)


def is_digest(text: str) -> bool:
    """Whether it is a SHA-256 in lower-case hexadecimal."""
    return _DIGEST.fullmatch(text) is not None


def named_in(body: bytes) -> list[str]:
    """The blobs that the JSON of a task's spec or result names. What is not a digest names no blob."""
    names = _NAMES.decode(body)
    archive = names.source.sha256 if names.source is not None else ""
    return [name for name in (names.files_sha256, names.payload_sha256, archive) if is_digest(name)]


def tie(connection: Session, pairs: Iterable[tuple[str, str]]) -> None:
    """Tie blobs to jobs, given as (digest, job); a job that is not there ties nothing."""
    connection.executemany(
        "INSERT INTO blob_refs (sha256, job) SELECT ?, uid FROM jobs WHERE uid = ? ON CONFLICT DO NOTHING", pairs
    )


def tied_to(connection: Session, uids: Sequence[str]) -> set[str]:
    """The blobs that these jobs name."""
    sql = "SELECT sha256 FROM blob_refs WHERE job = ? UNION SELECT sha256 FROM sources WHERE job = ?"
    return {sha for uid in uids for (sha,) in connection.execute(sql, (uid, uid))}


def untied(connection: Session, digests: Iterable[str]) -> list[str]:
    """Those of the blobs that no job names."""
    sql = "SELECT 1 FROM blob_refs WHERE sha256 = ? UNION ALL SELECT 1 FROM sources WHERE sha256 = ? LIMIT 1"
    return [sha for sha in digests if connection.execute(sql, (sha, sha)).fetchone() is None]


def collectable_before(connection: Session, *, now: float) -> float:
    """Untied blobs put before this time are waste: no open job can be about to name them."""
    (oldest,) = connection.execute("SELECT min(added_at) FROM jobs WHERE state <> 'closed'").fetchone()
    return min(now - YOUNG_SECONDS, now if oldest is None else oldest - MARGIN_SECONDS)
