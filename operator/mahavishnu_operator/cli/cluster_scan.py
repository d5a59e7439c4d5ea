"""The run behind `mahavishnu scan --cluster`: an archive of a folder, a ScanJob, and the report that comes back.

The pressure: the same command in a CI job must give the same answer whether tools run here or in Pods, and a person who
presses Ctrl-C must not leave work behind that goes on without them. What must stay true: nothing is sent before the
archive is whole and within its limit; on Ctrl-C the job is cancelled, and it is said so.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import signal
import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mahavishnu_operator.api.reasons import API_VERSION, Level
from mahavishnu_operator.client.door import Door, Key256, Way, with_key
from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from mahavishnu_operator.resources.protocol import SCAN_JOB, EventType, Expired, Key, Obj, Unreachable
from mahavishnu_operator.scan.archives import MadeArchive, make_archive
from mahavishnu_operator.support.errors import MahavishnuError, NotFound
from mahavishnu_operator.support.text import printable

from .exits import ExitCode
from .following import Telling, has_ended, unless_interrupted
from .outcome import Shown, exit_code_of_signal, listen_for_signals, show_outcome
from .output import OutputFormat, say
from .progress import Progress, make_progress

CANCEL_SECONDS = 10.0  # how long a first Ctrl-C waits for the partial report
PATIENCE_SECONDS = 120.0  # how long a server may be silent while a scan is followed
PAUSE_SECONDS = 1.0
KEPT_SECONDS = 24 * 3600  # the ScanJob after its end, with its report
ANSWERED_SECONDS = 60.0  # until an operator has said a first word


@dataclass(frozen=True)
class ClusterScan:
    """What was asked for on the command line, checked. `embedded`: the server is a `mahavishnu up`."""

    root: Path
    connection: Connection
    embedded: bool
    namespace: str
    pool: str
    tools: tuple[str, ...]
    fail_on: Level
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    timeout_seconds: int
    dispatcher_url: str | None
    dispatcher_ca: Path | None
    sarif: Path | None
    form: OutputFormat


def scanjob_manifest(request: ClusterScan, *, name: str, sha256: str) -> Obj:
    """The ScanJob: the globs have been applied to the archive already, and cost nothing there."""
    return {
        "apiVersion": API_VERSION,
        "kind": SCAN_JOB.kind,
        "metadata": {"name": name, "namespace": request.namespace},
        "spec": {
            **({"poolRef": {"name": request.pool}} if request.pool else {"routing": {}}),
            "source": {"archive": {"sha256": sha256}},
            "scan": {"tools": list(request.tools), "failOn": request.fail_on.value},
            "timeoutSeconds": request.timeout_seconds,
            "taskTimeoutSeconds": min(request.timeout_seconds, 600),
            "ttlSecondsAfterFinished": KEPT_SECONDS,
        },
    }


def job_name(root: Path) -> str:
    """A name that tells the folder and is used once."""
    words = re.sub(r"[^a-z0-9]+", "-", root.name.lower()).strip("-")[:40].strip("-")
    return f"{words or 'scan'}-{secrets.token_hex(4)}"


async def run_cluster_scan(request: ClusterScan) -> ExitCode:
    """Run it and print the report; the exit code."""
    begun, signals = time.monotonic(), listen_for_signals()
    resources = KubernetesResources(request.connection)
    try:
        with tempfile.TemporaryDirectory(prefix="mahavishnu-scan-") as folder:
            archive = Path(folder) / "archive.tar.gz"
            made, interrupt = await unless_interrupted(_archive(request, archive), signals)
            if made is None:
                say("interrupted before anything was sent")
                return exit_code_of_signal(interrupt or signal.SIGINT)
            say(f"{made.files} files, {made.size} bytes packed")
            key = Key256()
            name = job_name(request.root)
            job = await resources.create(
                SCAN_JOB, with_key(scanjob_manifest(request, name=name, sha256=made.sha256), key)
            )
            run = _Run(request, resources, job, made, key)
            return await run.to_its_end(archive, signals, begun=begun)
    finally:
        await resources.close()


class _Run:
    """One ScanJob that is there."""

    def __init__(
        self, request: ClusterScan, resources: KubernetesResources, job: Obj, made: MadeArchive, key: Key256
    ) -> None:
        self._request, self._resources, self._made, self._secret = request, resources, made, key
        self._key, self._uid = Key.of(job), str(job["metadata"]["uid"])

    async def to_its_end(self, archive: Path, signals: asyncio.Queue[signal.Signals], *, begun: float) -> ExitCode:
        """Bring the archive, follow the job, show the report."""
        with make_progress(f"scanning {printable(str(self._request.root))} as ScanJob {self._key}") as progress:
            work = self._bring_and_follow(archive, progress)
            job, interrupt = await unless_interrupted(work, signals)
            if job is None:
                progress.interrupted()
                job = await self._cancel(signals)
                say(f"ScanJob {self._key} was cancelled")
        status = job.get("status") or {}
        shown = await self._report(status)
        return show_outcome(
            status,
            shown,
            form=self._request.form,
            sarif=self._request.sarif,
            interrupt=interrupt,
            seconds=time.monotonic() - begun,
        )

    async def _bring_and_follow(self, archive: Path, progress: Progress) -> Obj:
        try:
            job = await self._bring(archive)
        except MahavishnuError:
            await self._abandon()
            raise
        return job if has_ended(job) else await self._follow(has_ended, tell=Telling(progress))

    async def _bring(self, archive: Path) -> Obj:
        """Bring the archive to the job as it then stood; one that has ended already wants none."""
        try:
            async with asyncio.timeout(ANSWERED_SECONDS):
                job = await self._follow(lambda obj: bool((obj.get("status") or {}).get("observedGeneration")))
        except TimeoutError:
            raise MahavishnuError(
                f"no operator has looked at ScanJob {self._key} for {ANSWERED_SECONDS:g} s",
                hint="is one running, and does it watch this namespace?",
            ) from None
        if has_ended(job):
            return job
        door = self._door(job.get("status") or {})
        try:
            await door.bring(self._key, archive, self._made.sha256)
        finally:
            await door.close()
        return job

    async def _abandon(self) -> None:
        """Cancel a job that would wait for an archive which nobody else has."""
        with suppress(NotFound, Unreachable):  # the error that led here is the one to tell
            job = await self._resources.merge(SCAN_JOB, self._key, {"spec": {"cancel": True}})
            if not has_ended(job):
                say(f"ScanJob {self._key} is being cancelled")

    async def _cancel(self, signals: asyncio.Queue[signal.Signals]) -> Obj:
        """The job at its end, or as it stands when a person does not wait for that."""
        with suppress(NotFound):
            await self._resources.merge(SCAN_JOB, self._key, {"spec": {"cancel": True}})
        with suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_SECONDS):
                job, _ = await unless_interrupted(self._follow(has_ended), signals)
                if job is not None:
                    return job
        return await self._resources.get(SCAN_JOB, self._key)

    async def _report(self, status: dict[str, Any]) -> Shown | None:
        if not status.get("report"):
            return None
        door = self._door(status)
        try:
            answers = await door.answers(self._key)
            wanted = self._request.form is not OutputFormat.TABLE or self._request.sarif is not None
            sarif = await door.sarif(self._key) if wanted else b""
        finally:
            await door.close()
        planned = answers.plan.skipped if answers.plan is not None else ()
        return Shown(answers.reports, sarif, (*self._made.skipped, *planned))

    def _door(self, status: dict[str, Any]) -> Door:
        request = self._request
        way = Way(request.connection, request.embedded, request.dispatcher_url, request.dispatcher_ca)
        return way.open(status=status, key=self._secret)

    async def _follow(self, until: Callable[[Obj], bool], *, tell: Callable[[Obj], None] = lambda _: None) -> Obj:
        """The ScanJob once `until` is true of it. NotFound: it was deleted. Unreachable: the server stays silent."""
        heard = time.monotonic()
        while True:
            try:
                obj = self._same(await self._resources.get(SCAN_JOB, self._key))
                heard = time.monotonic()
                tell(obj)
                if until(obj):
                    return obj
                since = obj["metadata"]["resourceVersion"]
                stream = self._resources.watch(SCAN_JOB, namespace=self._key.namespace, since=since)
                async with aclosing(_generator(stream)) as events:
                    async for event in events:
                        heard = time.monotonic()
                        if event.type is EventType.BOOKMARK or Key.of(event.object) != self._key:
                            continue
                        if event.type is EventType.DELETED:
                            raise NotFound(f"ScanJob {self._key} was deleted while it was waited for")
                        obj = self._same(event.object)
                        tell(obj)
                        if until(obj):
                            return obj
            except Expired:
                continue
            except Unreachable:
                if time.monotonic() - heard > PATIENCE_SECONDS:
                    raise
                await asyncio.sleep(PAUSE_SECONDS)

    def _same(self, obj: Obj) -> Obj:
        if obj["metadata"]["uid"] != self._uid:
            raise NotFound(f"ScanJob {self._key} was deleted while it was waited for; another one has its name now")
        return obj


async def _archive(request: ClusterScan, file: Path) -> MadeArchive:
    def make() -> MadeArchive:
        with file.open("wb") as out:
            return make_archive(request.root, out, include=request.include, exclude=request.exclude)

    return await asyncio.to_thread(make)


def _generator(stream: Any) -> AsyncGenerator[Any, None]:
    if not isinstance(stream, AsyncGenerator):
        raise TypeError("a watch is a generator")
    return stream
