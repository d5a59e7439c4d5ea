"""ScanJobs by the client: submit, wait, cancel, and read what came of them.

What must stay true: a job is cancelled by an explicit call alone, never because somebody stopped waiting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mahavishnu_operator.api.answers import TaskAnswer, TaskRow
from mahavishnu_operator.api.reasons import API_VERSION, JobPhase
from mahavishnu_operator.resources.conditions import find_condition
from mahavishnu_operator.resources.protocol import SCAN_JOB, Key, Obj, Resources
from mahavishnu_operator.scan.answers import Answers

from .following import Following, Told
from .ids import new_name
from .making import Maker, maker_named_on
from .results import Results


@dataclass(frozen=True)
class Job:
    """A ScanJob as it stands."""

    key: Key
    uid: str
    phase: JobPhase
    verdict: str
    pool: str  # namespace/name; empty: not chosen yet
    reason: str  # one CamelCase word of condition Ready, or of Accepted where that is False
    message: str
    tasks: Mapping[str, int]
    findings: Mapping[str, Any] | None
    created_by: str
    obj: Obj = field(repr=False)

    @property
    def ended(self) -> bool:
        """Nothing changes any more."""
        return self.phase.terminal

    @property
    def seconds(self) -> float:
        """From the first task's lease to its end; 0 until then, and where nothing was leased."""
        status = self.obj.get("status") or {}
        begun, ended = status.get("startTime"), status.get("completionTime")
        if not begun or not ended:
            return 0.0
        return (datetime.fromisoformat(str(ended)) - datetime.fromisoformat(str(begun))).total_seconds()

    @property
    def order(self) -> tuple[str, int]:
        """To sort by, oldest first: creation is told in whole seconds, so within one the latest changed is last."""
        meta = self.obj["metadata"]
        version = str(meta.get("resourceVersion"))
        return str(meta.get("creationTimestamp")), int(version) if version.isdecimal() else 0

    @classmethod
    def of(cls, obj: Obj) -> Job:
        """The job in an object as stored."""
        meta, status = obj["metadata"], obj.get("status") or {}
        said = _telling_condition(obj)
        ref = obj["spec"].get("poolRef")
        named = f"{ref.get('namespace') or meta['namespace']}/{ref['name']}" if ref else ""
        return cls(
            key=Key.of(obj),
            uid=meta["uid"],
            phase=JobPhase(status.get("phase") or JobPhase.PENDING),
            verdict=str(status.get("verdict") or "Pending"),
            pool=str(status.get("pool") or named),
            reason=str(said.get("reason") or ""),
            message=str(said.get("message") or ""),
            tasks=status.get("tasks") or {},
            findings=status.get("findings"),
            created_by=maker_named_on(obj),
            obj=obj,
        )


class Jobs:
    """`client.jobs`. Errors are those of resources.protocol.Resources."""

    def __init__(
        self, resources: Resources, following: Following, results: Results, *, namespace: str, me: Maker
    ) -> None:
        self._resources, self._following, self._results = resources, following, results
        self._namespace, self._me = namespace, me

    async def submit(
        self,
        spec: Obj,
        *,
        name: str = "",
        namespace: str = "",
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> Job:
        """Create a ScanJob; without a name, one that is used once. Conflict: there is one of that name."""
        key = Key(namespace or self._namespace, name or new_name("job"))
        obj: Obj = {
            "apiVersion": API_VERSION,
            "kind": SCAN_JOB.kind,
            "metadata": {
                "name": key.name,
                "namespace": key.namespace,
                "labels": {**(labels or {}), **self._me.labels},
                "annotations": {**(annotations or {}), **self._me.annotations, **self._results.marks(key)},
            },
            "spec": spec,
        }
        return Job.of(await self._resources.create(SCAN_JOB, obj))

    async def get(self, key: Key) -> Job:
        """One job."""
        return Job.of(await self._resources.get(SCAN_JOB, key))

    async def list(self, *, namespace: str | None = "", mine: bool = False) -> tuple[Job, ...]:
        """All jobs of a namespace (None: of all namespaces); `mine`: those made by this caller alone."""
        scope = self._namespace if namespace == "" else namespace
        selector = self._me.selector if mine else ""
        listing = await self._resources.list(SCAN_JOB, namespace=scope, label_selector=selector)
        return tuple(Job.of(obj) for obj in listing.items)

    async def wait(self, job: Job | Key, *, timeout: float, told: Told | None = None) -> Job:
        """The job at its end, or as it stands after `timeout` seconds."""
        obj = job.obj if isinstance(job, Job) else await self._resources.get(SCAN_JOB, job)
        return Job.of(
            await self._following.until(SCAN_JOB, obj, lambda now: Job.of(now).ended, timeout=timeout, told=told)
        )

    async def cancel(self, key: Key) -> Job:
        """Ask for its end; what is done is kept. Cancelling twice, or one that has ended, changes nothing."""
        job = await self.get(key)
        if job.ended or job.obj["spec"].get("cancel"):
            return job
        return Job.of(await self._resources.merge(SCAN_JOB, key, {"spec": {"cancel": True}}))

    async def tasks(self, job: Job) -> Sequence[TaskRow]:
        """All tasks, in order."""
        return await self._results.tasks(job.obj)

    async def task(self, job: Job, task: str) -> TaskAnswer:
        """One task and the ends of what it wrote."""
        return await self._results.task(job.obj, task)

    async def output(
        self, job: Job, task: str, *, stream: str = "stdout", offset: int = 0, limit: int = 65536
    ) -> bytes:
        """A page of what a task wrote."""
        return await self._results.output(job.obj, task, stream=stream, offset=offset, limit=limit)

    async def report(self, job: Job) -> Answers:
        """What the tools of a scan said. NotFound: it has no report."""
        return await self._results.answers(job.obj)

    async def sarif(self, job: Job) -> bytes:
        """The report as SARIF 2.1.0. NotFound: it has none."""
        return await self._results.sarif(job.obj)


def _telling_condition(obj: Obj) -> Obj:
    """The condition that says most about where a job stands: why it was refused, or Ready."""
    accepted = find_condition(obj, "Accepted") or {}
    if accepted.get("status") == "False":
        return accepted
    return find_condition(obj, "Ready") or accepted
