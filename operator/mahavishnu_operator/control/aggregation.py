"""Puts the results of a job together: the plan, the report, and what status says of them.

The pressure: what workers deliver is made from hostile code, can be missing (a lost worker, a cancelled task) and
can be large. What must stay true: a result that cannot be read is an answer that is missing, never an error of the
whole; the report is durable before anything names it; building it takes no time of the event loop.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from mahavishnu_operator.api.reasons import Verdict
from mahavishnu_operator.api.scanjob import ScanJobSpec
from mahavishnu_operator.api.wire import TaskResult
from mahavishnu_operator.dispatch.protocol import Dispatch
from mahavishnu_operator.resources.protocol import Key
from mahavishnu_operator.scan.answers import Answers, encode_answers
from mahavishnu_operator.scan.bounding import MAX_FINDINGS, bound_reports
from mahavishnu_operator.scan.model import Plan, ToolReport, decode_plan
from mahavishnu_operator.scan.report import merge_reports
from mahavishnu_operator.store.protocol import BlobDamaged, Store
from mahavishnu_operator.store.records import ReportRecord
from mahavishnu_operator.support.errors import MahavishnuError

from .conditions import shorten
from .jobs import PLAN_TASK, Aggregate
from .reporting import build_report
from .results import command_problems, plan_problem, task_outcome, tool_report

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class StoredReport:
    """The report of a job: the SARIF log as stored, what each tool said, and the plan (None: not known any more)."""

    sarif: bytes
    reports: tuple[ToolReport, ...]
    plan: Plan | None


class Aggregator:
    """Reads results through the dispatcher, and blobs and reports in the store."""

    def __init__(self, dispatch: Dispatch, store: Store) -> None:
        self._dispatch, self._store = dispatch, store

    async def read_plan(self, uid: str) -> tuple[Plan | None, str]:
        """The plan of a job, or why there is none."""
        result = await self._dispatch.result(uid, PLAN_TASK)
        if result is None or result.status != "succeeded":
            return None, plan_problem(result)
        payload = await self._payload(result)
        try:
            return decode_plan(payload or b""), ""
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return None, f"the plan cannot be read: {error}"

    async def aggregate(self, uid: str, key: Key, spec: ScanJobSpec) -> Aggregate:
        """All results of a job that has ended; the report is stored. Raises what the store raises: try again."""
        try:
            if spec.scan is None:
                return self._commands(await self._dispatch.results(uid))
            return await self._scan(uid, key, spec)
        except MahavishnuError:
            raise
        except Exception as error:  # a defect of ours must end the job in words, not keep it for ever
            log.error("the report could not be made", job=str(key), exc_info=error)
            return Aggregate(Verdict.INCOMPLETE, error=shorten(f"the report could not be made: {error!r}"))

    def _commands(self, results: Sequence[tuple[str, TaskResult]]) -> Aggregate:
        if any(result.status == "cancelled" for _, result in results):
            verdict = Verdict.INCOMPLETE
        else:
            good = all(result.status == "succeeded" for _, result in results)
            verdict = Verdict.PASSED if good else Verdict.FAILED
        return Aggregate(
            verdict,
            results=tuple(task_outcome(task, result) for task, result in results),
            problems=command_problems(results),
        )

    async def _scan(self, uid: str, key: Key, spec: ScanJobSpec) -> Aggregate:
        if spec.scan is None:
            raise ValueError(f"ScanJob {key} has no scan")
        plan, _ = await self.read_plan(uid)
        reports = await self._reports(uid)
        built = await asyncio.to_thread(build_report, reports, job=str(key), scan=spec.scan, plan=plan)
        sha256 = await self._store.put_blob(self._dispatch.epoch, built.sarif)
        record = ReportRecord(
            job=uid,
            sha256=sha256,
            size_bytes=len(built.sarif),
            truncated=built.truncated,
            summary=json.dumps(built.summary).encode(),
            stored_at=time.time(),
        )
        await self._store.put_report(self._dispatch.epoch, record)
        return Aggregate(
            built.verdict,
            findings=built.findings,
            report={
                "uri": f"/results/v1/jobs/{uid}/report.sarif",
                "sha256": sha256,
                "bytes": len(built.sarif),
                "truncated": built.truncated,
            },
            problems=built.problems,
        )

    async def report(self, uid: str) -> StoredReport | None:
        """The stored report of a job and what each tool said, None when there is none."""
        record = await self._store.report(uid)
        sarif = await self._store.blob(record.sha256) if record is not None else None
        if sarif is None:
            return None
        plan, _ = await self.read_plan(uid)
        return StoredReport(sarif, merge_reports(await self._reports(uid)), plan)

    async def answers(self, uid: str) -> bytes | None:
        """The same without the SARIF log, as JSON; None when there is no report."""
        found = await self.report(uid)
        return None if found is None else await asyncio.to_thread(encode_answers, Answers(found.reports, found.plan))

    async def _reports(self, uid: str) -> list[ToolReport]:
        """What each task said; of a flood the worst, read one by one so that no more than that is ever held."""
        held: list[ToolReport] = []
        fresh = 0
        for task, result in await self._dispatch.results(uid):
            if task == PLAN_TASK:
                continue
            held.append(await asyncio.to_thread(tool_report, task, result, await self._payload(result)))
            fresh += len(held[-1].findings)
            if fresh > MAX_FINDINGS:
                held, fresh = await asyncio.to_thread(bound_reports, held), 0
        return held

    async def _payload(self, result: TaskResult) -> bytes | None:
        if result.payload:
            return result.payload.encode()
        try:
            return await self._store.blob(result.payload_sha256) if result.payload_sha256 else None
        except BlobDamaged as error:  # asking again brings the same bytes: the answer is missing for good
            log.error("a result cannot be read", task=result.task, error=str(error))
            return None
