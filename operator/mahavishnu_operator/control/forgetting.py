"""Which jobs are stored whose objects have gone while nobody watched.

What must stay true: nothing of an object that may be there is named; what an engine for some namespaces cannot tell
about (a closed job, whose object may be elsewhere) stays.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from mahavishnu_operator.store.protocol import Store

from .objects import Objects

YOUNG_SECONDS = 60.0  # the object of a source that is younger may be younger than what the watch has told


async def find_missing(store: Store, jobs: Objects, *, namespaces: Sequence[str]) -> list[str]:
    """UIDs of jobs and sources without an object. `namespaces` empty: all. `jobs` were listed completely."""
    if namespaces:
        known = [job.uid for job in await store.open_jobs() if job.namespace in namespaces]
    else:
        known = [uid for uid, _ in await store.known_jobs()]
    before = time.time() - YOUNG_SECONDS
    known += [
        source.job
        for source in await store.sources()
        if (not namespaces or source.namespace in namespaces) and source.stored_at < before
    ]
    return [uid for uid in dict.fromkeys(known) if jobs.key_of(uid) is None]
