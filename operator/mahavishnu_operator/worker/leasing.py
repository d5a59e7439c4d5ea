"""The loops of an agent: lease tasks, have them run, renew, deliver what they answered.

They share one table of what is held (holdings.py). What must stay true: a finished result stays until the dispatcher
gave a receipt for it, across any number of its restarts; a task that was lost or cancelled is stopped; on SIGTERM the
worker finishes within its grace or hands its leases back, after their processes have ended.
"""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import structlog
from msgspec.structs import replace

from mahavishnu_operator.api.wire import (
    CommandTask,
    Empty,
    Hold,
    LeaseRequest,
    LeaseResponse,
    NoopTask,
    PlanTask,
    ReleaseRequest,
    RenewRequest,
    RenewResponse,
    ScanTask,
)
from mahavishnu_operator.support.errors import MahavishnuError

from .checkouts import Checkouts
from .client import ANSWER_SECONDS, CallFailed, DispatcherClient, Refused
from .config import WorkerConfig
from .conversation import More, Order, Work
from .delivery import Delivery
from .holdings import Held, Holdings
from .messages import Done, Output, Start
from .pacing import Pace, decide_lease, decide_sent
from .runners import RunnerSource
from .slot import Slot
from .stops import on_stops

log = structlog.get_logger(__name__)

KNOWN_NEWS_PAUSE_SECONDS = 0.5  # a renew that only repeats what is being done already
EARLY_ANSWER_PAUSE_SECONDS = 0.1
IDLE_LOOK_SECONDS = 1.0
GOODBYE_SECONDS = 4.0  # after the grace: for handing back, last results and leaving
PATIENCE_SECONDS = 10.0  # a worker for one task waits that long for it
VERDICT_SECONDS = 30.0  # for a kubelet and an operator to say what became of the runner's container


class Agent:
    """One worker, whose runners come from that source."""

    def __init__(self, config: WorkerConfig, *, runners: RunnerSource) -> None:
        self._config, self._runners = config, runners
        self._holdings = Holdings()
        self._client = DispatcherClient(config, incarnation=uuid.uuid4().hex, holds=lambda: self._holdings.holds)
        self._delivery = Delivery(self._client, self._holdings)
        self._checkouts = Checkouts(runners.scratch / "sources", pieces=self._client.blob_pieces)
        self._pace = Pace()
        self._draining = asyncio.Event()  # take no more
        self._hurry = asyncio.Event()  # the grace is over
        self._asked_to_stop = 0
        self._count = 0

    async def run(self) -> int:
        """Work until drained, told to stop, or refused; the exit code."""
        on_stops(self._stop)
        try:
            if await self._unless_draining(self._client.register()):
                log.info("registered", pool=self._config.pool, worker=self._config.worker, slots=self._config.slots)
                await self._work()
        except Refused as error:
            log.error("the dispatcher refused this worker", error=str(error))
            return error.exit_code
        except CallFailed as error:
            log.error("the dispatcher refused a call of this worker", error=str(error))
            return 1
        finally:
            await self._client.close()
        return 0

    def _stop(self) -> None:
        """The first signal starts the grace, the second ends it."""
        self._asked_to_stop += 1
        self._draining.set()
        delay = self._config.grace_seconds if self._asked_to_stop == 1 else 0.0
        asyncio.get_running_loop().call_later(delay, self._hurry.set)

    def leave_at_once(self) -> None:
        """Deliver what has ended, hand back the rest, and leave."""
        self._draining.set()
        self._hurry.set()

    async def leave_without_runners(self) -> None:
        """The runners are dead. A worker for one task keeps its lease for those to end who see why they are."""
        if self._config.one_task_seconds:
            for held in self._holdings.all:
                held.cancel.set()  # whatever is left of the runners
            with suppress(TimeoutError):
                async with asyncio.timeout(VERDICT_SECONDS):
                    await self._nothing_held()
        self.leave_at_once()

    async def _unless_draining(self, work: Coroutine[Any, Any, object]) -> bool:
        """Do `work`, but no longer than until a drain begins; whether it was done."""
        draining, working = asyncio.create_task(self._draining.wait()), asyncio.create_task(work)
        try:
            await asyncio.wait({draining, working}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
            return working.done()
        finally:
            draining.cancel()
            working.cancel()

    async def _work(self) -> None:
        slots = [Slot(number, self._runners) for number in range(self._config.slots)]
        try:
            with _first_failure():
                async with asyncio.TaskGroup() as group:
                    talking = [
                        group.create_task(self._renew()),
                        group.create_task(self._delivery.deliver()),
                        group.create_task(self._delivery.send_output()),
                        group.create_task(self._hand_back_stuck()),
                    ]
                    serving = [group.create_task(self._serve(slot)) for slot in slots]
                    await self._unless_draining(self._lease_one() if self._config.one_task_seconds else self._lease())
                    await self._finish(serving, slots, talking)
        finally:
            for slot in slots:
                await slot.close()

    async def _finish(
        self, serving: list[asyncio.Task[None]], slots: list[Slot], talking: list[asyncio.Task[None]]
    ) -> None:
        """Let what runs end within the grace, hand back the rest, and leave."""
        self._draining.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                words = "the worker leaves and has not started it"
                await asyncio.gather(*(slot.withdraw() for slot in slots))
                await self._hand_back(self._holdings.unstarted, words, unstarted=True)
        hurry = asyncio.create_task(self._hurry.wait())
        ended = asyncio.create_task(self._nothing_held())
        await asyncio.wait({hurry, ended}, return_when=asyncio.FIRST_COMPLETED)
        for task in (hurry, ended, *serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)  # their processes have ended when this returns
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                unfinished = [held for held in self._holdings.all if held.result is None]
                await self._hand_back(unfinished, "the worker was stopped and its grace is over")
                await self._nothing_held()
                for task in talking:
                    task.cancel()  # a renewal that is answered after we left would register anew
                with suppress(CallFailed):
                    await self._client.tell("/v1/leave", Empty())
            log.info("left", pool=self._config.pool, worker=self._config.worker)
        except TimeoutError:
            log.error(
                "stopped without a word from the dispatcher; what was held will be done again",
                tasks=[hold.task for hold in self._holdings.holds],
            )
            for task in talking:
                task.cancel()

    async def _nothing_held(self) -> None:
        while self._holdings.holds:
            await self._holdings.changed.next()

    async def _hand_back_stuck(self) -> None:
        """Give what stands behind a long task back to those for whom it need not wait."""
        while True:
            await self._holdings.waiting.wait()
            ahead = self._client.pace.ahead_seconds
            await asyncio.sleep(ahead or IDLE_LOOK_SECONDS)
            if ahead:  # an older dispatcher leases nothing ahead
                stuck = self._holdings.stuck(time.monotonic(), slots=self._config.slots, seconds=2 * ahead)
                await self._hand_back(stuck, "it stood behind a task that takes longer than others", unstarted=True)
            if not self._holdings.unstarted:
                self._holdings.waiting.clear()

    async def _hand_back(self, some: list[Held], why: str, *, unstarted: bool = False) -> None:
        if not some:
            return
        holds = tuple(held.hold for held in some)
        for hold in holds:
            self._holdings.drop(hold)
        with suppress(CallFailed):
            await self._client.tell("/v1/release", ReleaseRequest(holds, why, unstarted=unstarted))

    async def _lease(self) -> None:
        while True:
            asked_at = time.monotonic()
            wanted = decide_lease(
                slots=self._config.slots,
                held=len(self._holdings),
                pace=self._pace,
                longest_running_seconds=self._holdings.longest_running(asked_at),
                max_batch=self._client.pace.max_batch,
            )
            if wanted == 0:
                await self._holdings.changed.next()
                continue
            wait = self._client.longest_poll
            request = LeaseRequest(max=wanted, wait_seconds=wait, ahead=self._client.pace.ahead_seconds > 0)
            answer = await self._client.call("/v1/lease", request, LeaseResponse, seconds=wait + ANSWER_SECONDS)
            if len(answer.grants) < wanted:
                self._pace = Pace()  # the queue ran dry: what comes next may be of another kind
            for grant in answer.grants:
                self._holdings.take(grant, granted_at=asked_at + answer.waited_seconds)
                if isinstance(grant.spec, NoopTask):
                    self._pace = self._pace.after(0.0)
            if answer.drain:
                return
            if not answer.grants and time.monotonic() - asked_at < wait / 2:
                await asyncio.sleep(EARLY_ANSWER_PAUSE_SECONDS)  # whatever answers so is not to be asked in a circle

    async def _lease_one(self) -> None:
        """Have one task, and hold it to its end. Whoever made this worker makes another one when there is none."""
        until = time.monotonic() + PATIENCE_SECONDS
        while (left := until - (asked_at := time.monotonic())) > 0:
            wait = min(left, self._client.longest_poll)
            request = LeaseRequest(max=1, wait_seconds=wait)
            answer = await self._client.call("/v1/lease", request, LeaseResponse, seconds=wait + ANSWER_SECONDS)
            for grant in answer.grants:
                self._holdings.take(grant, granted_at=asked_at + answer.waited_seconds)
                if grant.timeout_seconds > self._config.one_task_seconds:
                    await self._hand_back(self._holdings.all, "it may run longer than its worker", unstarted=True)
            if answer.grants or answer.drain:
                return await self._nothing_held()
            if time.monotonic() - asked_at < wait / 2:
                await asyncio.sleep(EARLY_ANSWER_PAUSE_SECONDS)
        return None

    async def _serve(self, slot: Slot) -> None:
        await slot.warm()
        try:
            while True:
                held = await self._holdings.next_to_start()
                try:
                    files = await self._files(held)
                except CallFailed as error:
                    words = f"the list of files could not be fetched: {error}"
                    self._end(held, Work(Done("failed", "InputMissing", words)))
                else:
                    self._count += 1
                    scratch = str(self._runners.scratch / f"{self._count}-{secrets.token_hex(4)}")
                    more = partial(self._more, scratch) if isinstance(held.grant.spec, CommandTask) else _nothing
                    await self._run(slot, held, self._order(held, scratch, files), more)
        finally:
            await slot.close()

    async def _files(self, held: Held) -> bytes:
        """The list of files that a scan names. CallFailed."""
        spec = held.grant.spec
        return await self._client.get_blob(spec.files_sha256) if isinstance(spec, ScanTask) else b""

    async def _run(self, slot: Slot, held: Held, order: Order, more: More) -> None:
        source = getattr(held.grant.spec, "source", None)
        if source is None:
            await slot.run(order, more)
            return
        async with self._checkouts.use(held.grant.task, source, cancel=held.cancel) as use:
            good = held.good_until - time.monotonic()
            order.start = replace(order.start, place=use.place, git_ca=self._config.git_ca_pem, good_seconds=good)
            order.supplier = use
            await slot.run(order, more)

    def _order(self, held: Held, scratch: str, files: bytes = b"") -> Order:
        grant = held.grant
        if isinstance(grant.spec, NoopTask):
            raise TypeError(f"{held.hold} is a no-op, which no runner is asked for")
        self._count += 1

        def keep(piece: Output) -> None:
            held.output.add(piece.stream, piece.offset, piece.data)

        return Order(
            Start(grant.spec, grant.timeout_seconds, scratch, files, self._count, held.good_until - time.monotonic()),
            held.cancel,
            on_output=keep,
            on_end=partial(self._end, held),
            on_back=partial(self._holdings.put_back, held),
        )

    def _end(self, held: Held, work: Work) -> None:
        if self._config.one_task_seconds and self._runners.lost.is_set():
            return  # what became of the runner's container others see, and say what it means
        self._holdings.finish(held, work)
        if isinstance(held.grant.spec, PlanTask) or held.started_at is None:
            return  # a plan says nothing about the tasks that it makes
        ran = work.done.exit_code is not None
        self._pace = self._pace.after(work.done.duration_seconds if ran else time.monotonic() - held.started_at)

    def _more(self, scratch: str, sent: int) -> list[Order]:
        """Short commands to send after those that are on their way to a runner, for the same folder."""
        most = 0 if self._draining.is_set() else decide_sent(self._pace) - sent
        return [self._order(held, scratch) for held in self._holdings.more_to_start(most, slots=self._config.slots)]

    async def _renew(self) -> None:
        """Renew what is held, and hear of cancels; who holds nothing hears of a drain where it asks for work."""
        known: set[Hold] = set()
        while True:
            while not self._holdings.holds:
                await self._holdings.changed.next()
            pace, holds, asked_at = self._client.pace, self._holdings.holds, time.monotonic()
            # What came late, because the dispatcher was away for a while, is renewed before it may begin.
            wait = 0.0 if self._holdings.overdue(asked_at) else pace.renew_seconds
            request = RenewRequest(holds, wait)
            seconds = pace.renew_seconds + pace.lease_seconds / 3  # no answer by then: there is time for one more try
            answer = await self._client.call("/v1/renew", request, RenewResponse, seconds=seconds)
            for hold in answer.lost:
                self._holdings.drop(hold)
            for hold in answer.cancel:
                self._holdings.cancel(hold)
            self._holdings.renewed(holds, asked_at=asked_at)
            nothing_new = {*answer.cancel, *answer.lost} <= known and answer.drain <= self._draining.is_set()
            known = {*answer.cancel, *answer.lost}
            if answer.drain:
                self._draining.set()
            if nothing_new and (known or answer.drain):
                await asyncio.sleep(KNOWN_NEWS_PAUSE_SECONDS)


def _nothing(_: int) -> list[Order]:
    return []


@contextmanager
def _first_failure() -> Iterator[None]:
    """An error of ours out of the group of tasks that it ended; any other is a defect and stays as it is."""
    try:
        yield
    except BaseExceptionGroup as group:
        ours = [error for error in _leaves(group) if isinstance(error, MahavishnuError)]
        if not ours:
            raise
        raise ours[0] from None


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
