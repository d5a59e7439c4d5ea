"""Looks what is there of a ScanJob's files, and has a Job bring them: the thin shell around control.sources.

What must stay true: content that a namespace has brought before is not brought again, and no other namespace's is ever
taken; Jobs of a ScanJob that is over are stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from mahavishnu_operator.api.scanjob import ScanJobSpec
from mahavishnu_operator.api.workerpool import WorkerPoolSpec
from mahavishnu_operator.backends.kubernetes.settings import KubernetesSettings
from mahavishnu_operator.backends.kubernetes.source_manifests import SourceWanted
from mahavishnu_operator.dispatch.protocol import Dispatch
from mahavishnu_operator.resources.protocol import Key, Obj, Resources
from mahavishnu_operator.store.protocol import Store
from mahavishnu_operator.store.records import SourceRecord
from mahavishnu_operator.support.errors import NotFound

from .sources import Bring, Supply, decide_source, supply_of

if TYPE_CHECKING:
    from mahavishnu_operator.backends.kubernetes.source_jobs import SourceJobs


def make_source_jobs(
    resources: Resources,
    settings: KubernetesSettings | None,
    *,
    on_change: Callable[[str], None],
    namespaces: tuple[str, ...],
) -> SourceJobs | None:
    """Jobs of the cluster that the objects are in; None: there is none."""
    if settings is None:
        return None
    from mahavishnu_operator.backends.kubernetes.source_jobs import SourceJobs
    from mahavishnu_operator.resources.kubernetes import KubernetesResources

    if not isinstance(resources, KubernetesResources):
        return None
    return SourceJobs(resources, settings, on_change=on_change, namespaces=namespaces)


class Sourcing:
    """`jobs` None: there is no cluster to run a Job in; then no ScanJob that needs one is accepted."""

    def __init__(
        self, store: Store, dispatch: Dispatch, jobs: SourceJobs | None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._store, self._dispatch, self._jobs, self._clock = store, dispatch, jobs, clock

    async def look(self, key: Key, obj: Obj) -> tuple[Bring | None, SourceRecord | None]:
        """What is to be done about the files, None where there are none to bring; and the archive of them."""
        uid, source = obj["metadata"]["uid"], (obj.get("spec") or {}).get("source")
        supply = supply_of(source)
        if supply is Supply.NONE:
            return None, None
        sha256 = str(((source or {}).get("archive") or {}).get("sha256") or "")
        stored = await self._store.source(uid)
        if supply is Supply.UPLOAD and (stored is None or stored.sha256 != sha256):
            stored = await self._adopt(key, uid, sha256)
        jobs = await self._jobs.observe(uid) if self._jobs is not None and stored is None else []
        bring = decide_source(
            supply, stored=stored is not None, jobs=jobs, now=self._clock(), sha256=sha256, namespace=key.namespace
        )
        return bring, stored

    async def start(
        self, key: Key, uid: str, spec: ScanJobSpec, *, number: int, pool: tuple[Key, WorkerPoolSpec]
    ) -> None:
        """Make the Job of one try. It is placed as the pool's workers are, where the pool is of the same namespace."""
        if self._jobs is None or spec.source is None:
            raise ValueError(f"ScanJob {key} has no Job that brings its files")
        owner, of_pool = pool
        placement = of_pool.kubernetes.model_dump(by_alias=True, exclude_none=True) if of_pool.kubernetes else {}
        await self._jobs.start(
            SourceWanted(
                job=key,
                uid=uid,
                source=spec.source,
                timeout_seconds=spec.timeout_seconds,
                number=number,
                placement=placement if owner.namespace == key.namespace else {},
            )
        )

    async def stop(self, uid: str) -> None:
        """Nobody waits for the files of this ScanJob any more."""
        if self._jobs is not None:
            await self._jobs.stop(uid)

    async def _adopt(self, key: Key, uid: str, sha256: str) -> SourceRecord | None:
        """The same content, if some job of the namespace has it."""
        found = await self._store.find_source(key.namespace, sha256)
        if found is None:
            return None
        own = replace(found, job=uid, stored_at=self._clock())
        with suppress(NotFound):  # the blob has gone meanwhile
            await self._store.put_source(self._dispatch.epoch, own)
            return own
        return None
