"""How attempts end: by a result that is delivered, or without one.

The pressure: a result that was acknowledged must never be lost nor counted twice, whatever dies between
its arrival and its receipt. What must stay true: a receipt is given after the write; while the end of a
lease is being written nothing else can end it, and a second delivery of the same result waits for the
first; only the holder of a lease can end it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from mahavishnu_operator.api.reasons import FailureClass
from mahavishnu_operator.api.wire import Receipt, TaskResult
from mahavishnu_operator.store.records import (
    AttemptEnd,
    JobState,
    Recorded,
    ResultRecord,
    TaskKey,
    TaskState,
)

from .core import Core
from .errors import NotLeader, TryAgain
from .judge import Again, Counts, Fails, Tries, judge_loss, judge_result
from .leases import Lease
from .ledger import Task
from .workers import Worker

RETRY_SECONDS = 1.0  # when the end of a lost lease could not be written


@dataclass(frozen=True, slots=True)
class _End:
    """The end of one lease, decided and not yet written."""

    lease: Lease
    task: Task
    verdict: Counts | Again | Fails
    reason: str
    message: str
    body: bytes = b""  # of the result, when the verdict is Counts


class Settler:
    """Ends leases."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def deliver(self, worker: Worker, results: Sequence[tuple[TaskKey, TaskResult]]) -> list[Receipt]:
        """Receipts for results, in order, when they are durable. TryAgain: some may be, none is acknowledged."""
        core = self._core
        begun = core.clock()
        while writing := [
            lease.settling
            for key, result in results
            if (lease := core.leases.held(key, result.attempt, worker=worker.id)) and lease.settling
        ]:
            await asyncio.wait(writing)
        ends: list[_End] = []
        words: list[str | None] = []
        for key, result in results:
            lease = core.leases.held(key, result.attempt, worker=worker.id)
            task = core.ledger.task(key)
            if lease is None or task is None:
                words.append(None)
                continue
            if lease.settling is None:  # otherwise the same result twice in one request
                verdict = judge_result(result, _tries(task))
                if result.exit_code is not None:  # a process ran
                    task.job.pace = task.job.pace.after(result.duration_seconds)
                body = msgspec.json.encode(result) if isinstance(verdict, Counts) else b""
                ends.append(_End(lease, task, verdict, result.reason, result.message, body))
                lease.settling = asyncio.get_running_loop().create_future()
                words.append("recorded")
            else:
                words.append("duplicate")
        await self._write_ends(ends)
        receipts = [
            Receipt(task=result.task, attempt=result.attempt, receipt=word or await self._past(worker, key, result))  # type: ignore[arg-type]
            for (key, result), word in zip(results, words, strict=True)
        ]
        meters = core.meters.pool(worker.pool)
        meters.result_latency.observe(core.clock() - begun)
        for receipt in receipts:
            meters.results[receipt.receipt].inc()
        worker.tasks_done += len(ends)
        return receipts

    async def lose(self, leases: Sequence[Lease], failure: FailureClass, *, reason: str, message: str) -> None:
        """End leases without an answer; those that are being ended already are left alone.

        TryAgain: the store is full; they are ended by their deadline, a moment from now.
        """
        core = self._core
        ends: list[_End] = []
        for lease in leases:
            task = core.ledger.task(lease.key)
            if lease.settling is not None or core.leases.get(lease.key) is not lease:
                continue
            if task is None:
                core.drop_lease(lease)
                continue
            verdict = judge_loss(failure, _tries(task), message=message)
            body = _made_body(lease, message) if isinstance(verdict, Counts) else b""
            if isinstance(verdict, Fails):
                ends.append(_End(lease, task, verdict, verdict.reason, verdict.message))
            else:
                ends.append(_End(lease, task, verdict, reason, message, body))
            lease.settling = asyncio.get_running_loop().create_future()
        try:
            await self._write_ends(ends)
        except TryAgain:
            for end in ends:
                end.lease.deadline = core.clock() + RETRY_SECONDS
            raise

    async def _write_ends(self, ends: Sequence[_End]) -> None:
        """Write what was decided, in one commit, and let memory follow."""
        if not ends:
            return
        counting = [(end, end.verdict) for end in ends if isinstance(end.verdict, Counts)]
        others = [(end, end.verdict) for end in ends if not isinstance(end.verdict, Counts)]
        tasks = [end.task for end in ends]
        self._core.begin_writing(tasks)
        try:
            outcomes = await asyncio.gather(self._record(counting), self._close(others), return_exceptions=True)
        finally:
            self._core.end_writing(tasks)
            for end in ends:
                if end.lease.settling is not None:
                    end.lease.settling.set_result(None)
                    end.lease.settling = None
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _record(self, ends: Sequence[tuple[_End, Counts]]) -> None:
        if not ends:
            return
        core = self._core
        records = []
        for end, verdict in ends:
            records.append(
                ResultRecord(
                    key=end.lease.key,
                    attempt=end.lease.attempt,
                    state=verdict.state,
                    body=end.body,
                    finished_at=core.wall(),
                    charged=verdict.charged,
                )
            )
        answers = await core.write(core.store.record_results(core.epoch, records))
        for (end, _), answer in zip(ends, answers, strict=True):
            if answer is Recorded.RECORDED:
                self._apply(end)
            elif core.ledger.task(end.task.key) is end.task and end.task.job.state is not JobState.CLOSED:
                error = NotLeader(f"the store says {answer.value} of {end.lease}, which is leased")
                core.stop(error)
                raise error
            else:  # its job was forgotten meanwhile, or is being forgotten: the store is ahead of memory then
                core.drop_lease(end.lease)

    async def _close(self, ends: Sequence[tuple[_End, Again | Fails]]) -> None:
        if not ends:
            return
        core = self._core
        records = []
        for end, verdict in ends:
            records.append(
                AttemptEnd(
                    key=end.lease.key,
                    attempt=end.lease.attempt,
                    failure=verdict.failure,
                    reason=end.reason,
                    message=end.message,
                    requeue=isinstance(verdict, Again),
                    ended_at=core.wall(),
                )
            )
        await core.write(core.store.end_attempts(core.epoch, records))
        for end, _ in ends:
            self._apply(end)

    def _apply(self, end: _End) -> None:
        """Memory follows the store."""
        core = self._core
        core.drop_lease(end.lease)
        task, verdict = end.task, end.verdict
        if core.ledger.task(task.key) is not task:
            return  # its job was closed or forgotten meanwhile
        now = core.clock()
        pool = task.job.record.pool
        meters = core.meters.pool(pool)
        match verdict:
            case Counts():
                core.ledger.finish(task, verdict.state, FailureClass.TOOL if verdict.charged else None)
                meters.ended[verdict.state].inc()
            case Again():
                core.ledger.requeue(task, verdict.failure, not_before=now + verdict.after_seconds, now=now)
                meters.attempts[verdict.failure].inc()
            case Fails():
                core.ledger.finish(task, TaskState.FAILED, verdict.failure)
                meters.attempts[verdict.failure].inc()
                meters.ended[TaskState.FAILED].inc()
        core.changed(pool, task.key.job)
        core.waiting.wake(pool)

    async def _past(self, worker: Worker, key: TaskKey, result: TaskResult) -> str:
        """The receipt for a result whose lease this worker does not hold (any more): nothing is written."""
        core = self._core
        job = core.ledger.jobs.get(key.job)
        if job is not None and job.record.pool != worker.pool:
            return "unknown"
        recorded = await core.store.result(key)
        if recorded is not None:
            return "duplicate" if recorded.attempt == result.attempt else "superseded"
        return "superseded" if job is not None and key.task in job.tasks else "unknown"


def _tries(task: Task) -> Tries:
    return Tries(
        charged=task.charged,
        lost=task.lost,
        max_attempts=task.job.record.max_attempts,
        cancelled=task.job.cancelled,
    )


def _made_body(lease: Lease, message: str) -> bytes:
    """The result of a task that was cancelled and whose worker never said so."""
    return msgspec.json.encode(
        TaskResult(task=str(lease.key), attempt=lease.attempt, status="cancelled", reason="Cancelled", message=message)
    )
