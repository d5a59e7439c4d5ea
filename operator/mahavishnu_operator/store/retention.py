"""Which jobs the store may forget.

The pressure: a ScanJob is deleted while we are away, so no event tells us; only a complete LIST shows that
its rows have no owner. What must stay true: a job that is listed is never forgotten, nor one that was
added after the LIST was begun, since that LIST cannot show it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable


def choose_expired(
    known: Iterable[tuple[str, float]], listed_uids: Collection[str], *, now: float, retention_seconds: float
) -> list[str]:
    """UIDs to forget, oldest first: not listed, and added at least `retention_seconds` ago.

    `known` is Store.known_jobs(): (uid, seconds since the Unix epoch). `listed_uids` must come from one
    complete LIST of all namespaces; `now` is the time at which that LIST was begun.
    """
    listed = frozenset(listed_uids)
    expired = [
        (added_at, uid)
        for uid, added_at in known
        if uid not in listed and now - added_at >= max(retention_seconds, 0.0)
    ]
    return [uid for _, uid in sorted(expired)]
