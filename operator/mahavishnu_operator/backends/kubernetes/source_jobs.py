"""The Jobs that bring files: the thin shell that makes, follows and deletes them.

The pressure: a reconciler looks often, and what it has just made must be in its next look. So Jobs and their Pods are
followed by one watch each, and the answer to each of our own writes goes into the same memory at once. What must stay
true: before both were listed nothing is known, and `observe` says so; a Job that is there already is an answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from mahavishnu_operator.api.reasons import Label
from mahavishnu_operator.backends.protocol import BackendError
from mahavishnu_operator.resources.cache import Reflector
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from mahavishnu_operator.resources.protocol import EventType, Forbidden, Key, Obj, WatchEvent
from mahavishnu_operator.resources.selection import Selection
from mahavishnu_operator.support.errors import Conflict, MahavishnuError, NotFound

from .settings import JOB, POD, KubernetesSettings
from .source_manifests import COMPONENT, SourceWanted, source_job
from .source_phases import SourceJob, observe_source_job

POD_SECONDS = 3.0  # a Job without a Pod for longer than that is asked for its events
REFUSED = "FailedCreate"  # the Job controller's event


class SourceJobs:
    """`run` follows Jobs and Pods until cancelled. `on_change(uid)`: those of that ScanJob changed."""

    def __init__(
        self,
        resources: KubernetesResources,
        settings: KubernetesSettings,
        *,
        on_change: Callable[[str], None],
        namespaces: tuple[str, ...] = (),
    ) -> None:
        self._resources, self._settings, self._on_change = resources, settings, on_change
        chosen = Selection(resources, f"{Label.MANAGED_BY}=mahavishnu,{Label.COMPONENT}={COMPONENT}")
        places = namespaces or (None,)
        self._jobs = {place: Reflector(chosen, JOB, on_change=self._job_changed, namespace=place) for place in places}
        self._pods = {place: Reflector(chosen, POD, on_change=self._pod_changed, namespace=place) for place in places}
        self._by_uid: dict[str, set[Key]] = {}
        self._uids: dict[Key, str] = {}

    async def run(self) -> None:
        """List and watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for reflector in (*self._jobs.values(), *self._pods.values()):
                group.create_task(reflector.run())

    async def observe(self, uid: str) -> list[SourceJob]:
        """The Jobs of a ScanJob. BackendError: they have not been listed yet."""
        if not all(reflector.synced.is_set() for reflector in (*self._jobs.values(), *self._pods.values())):
            raise BackendError("the Jobs are not known yet: the API server has not answered a complete list")
        jobs = [job for key in self._by_uid.get(uid, ()) if (job := self._job(key)) is not None]
        return [await self._observe(job) for job in jobs]

    async def start(self, wanted: SourceWanted) -> None:
        """Make the Job of one try; there already: well. BackendError: the API server refused it, or gave no answer."""
        try:
            job = await self._resources.create(JOB, source_job(wanted, self._settings))
        except Conflict:
            with suppress(NotFound):
                self._take_in(EventType.ADDED, await self._resources.get(JOB, Key(wanted.job.namespace, wanted.name)))
            return
        except MahavishnuError as error:
            raise BackendError(
                f"Job {wanted.name} of ScanJob {wanted.job} could not be made: {error.message}",
                hint=error.hint or "see the quota and the Pod Security level of its namespace",
            ) from error
        self._take_in(EventType.ADDED, job)

    async def stop(self, uid: str) -> None:
        """Delete the Jobs of a ScanJob that are not over: nobody waits for their files any more."""
        for key in list(self._by_uid.get(uid, ())):
            job = self._job(key)
            if job is None or _over(job) or job["metadata"].get("deletionTimestamp"):
                continue
            try:
                await self._resources.delete(JOB, key, uid=job["metadata"]["uid"])
            except NotFound:
                self._take_in(EventType.DELETED, job)
            except MahavishnuError as error:
                raise BackendError(f"Job {key} could not be deleted: {error.message}", hint=error.hint) from error

    async def _observe(self, job: Obj) -> SourceJob:
        pod = next(
            (
                pod
                for pods in self._pods.values()
                for pod in pods.store.values()
                if any(o.get("uid") == job["metadata"]["uid"] for o in pod["metadata"].get("ownerReferences") or ())
            ),
            None,
        )
        refused = ""
        if pod is None and not _over(job):
            made = datetime.fromisoformat(job["metadata"]["creationTimestamp"]).timestamp()
            if time.time() - made > POD_SECONDS:
                refused = await self._why_no_pod(job)
        return observe_source_job(job, pod, refused=refused)

    async def _why_no_pod(self, job: Obj) -> str:
        try:
            events = await self._resources.events(job)
        except Forbidden:
            return "the operator may not read events; `kubectl describe job` shows why"
        refusals = [str(event.get("message", "")) for event in events if event.get("reason") == REFUSED]
        return refusals[-1] if refusals else ""

    def _job(self, key: Key) -> Obj | None:
        return (self._jobs.get(None) or self._jobs[key.namespace]).store.get(key)

    def _take_in(self, type_: EventType, job: Obj) -> None:
        (self._jobs.get(None) or self._jobs[job["metadata"]["namespace"]]).observe(WatchEvent(type_, job))

    def _job_changed(self, key: Key) -> None:
        job = self._job(key)
        uid = self._uids.get(key, "") if job is None else _uid_of(job)
        if job is None:
            self._uids.pop(key, None)
            self._by_uid.get(uid, set()).discard(key)
            if not self._by_uid.get(uid):
                self._by_uid.pop(uid, None)
        elif uid:
            self._uids[key] = uid
            self._by_uid.setdefault(uid, set()).add(key)
        if uid:
            self._on_change(uid)

    def _pod_changed(self, key: Key) -> None:
        pod = (self._pods.get(None) or self._pods[key.namespace]).store.get(key)
        if pod is not None and (uid := pod["metadata"]["labels"].get(Label.SCAN_JOB_UID)):
            self._on_change(uid)


def _uid_of(job: Obj) -> str:
    """The ScanJob that controls a Job; labels do not tell."""
    owner = next((o for o in job["metadata"].get("ownerReferences") or () if o.get("controller")), None)
    return str(owner["uid"]) if owner is not None and owner["kind"] == "ScanJob" else ""


def _over(job: Obj) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(c["type"] in ("Complete", "Failed") and c.get("status") == "True" for c in conditions)
