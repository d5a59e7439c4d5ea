"""Workers that are marked busy in a cluster before they are leased anything, and that cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from mahavishnu_operator.dispatch.dispatcher import Dispatcher
from mahavishnu_operator.dispatch.ledger import Task
from mahavishnu_operator.dispatch.protocol import Identity
from mahavishnu_operator.support.errors import MahavishnuError

from .harness import POOL, Agent


@dataclass
class Cluster:
    """Where the marks are: the other side of `mark_with`, which answers while it is `open`."""

    marked: set[str] = field(default_factory=set)
    writes: list[tuple[str, bool]] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    refusing: set[str] = field(default_factory=set)
    skipped: float = 0.0

    def clock(self) -> float:
        return asyncio.get_running_loop().time() + self.skipped

    async def mark(self, pool: str, worker: str, busy: bool) -> None:
        self.writes.append((worker, busy))
        self.asked.put_nowait(worker)
        await self.open.wait()
        if worker in self.refusing:
            raise MahavishnuError("not now")
        (self.marked.add if busy else self.marked.discard)(worker)


async def identify(token: str) -> Identity:
    return Identity(POOL, token, guarded=True)


def guard(dispatcher: Dispatcher, cluster: Cluster) -> None:
    dispatcher.admission.ask(identify)
    dispatcher.engagement.mark_with(cluster.mark)


async def worker(dispatcher: Dispatcher, name: str = "w1", *, slots: int = 1) -> Agent:
    """A worker of which the cluster showed, before it came, that it is not marked."""
    dispatcher.engagement.see(pool=POOL, worker=name, marked=False)
    return await Agent(dispatcher, name, token=name, slots=slots).register()


async def asking(dispatcher: Dispatcher, number: int) -> list[asyncio.Task[list[Task]]]:
    """So many workers that wait for a task."""
    agents = [await worker(dispatcher, f"w{n}") for n in range(number)]
    calls = [asyncio.create_task(agent.lease(wait=30)) for agent in agents]
    await turn()
    return calls


async def turn() -> None:
    """Let everybody go on as far as they can without an answer from outside."""
    for _ in range(20):
        await asyncio.sleep(0)


async def give_up(calls: Sequence[asyncio.Task[list[Task]]] | Sequence[asyncio.Task[None]]) -> None:
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
