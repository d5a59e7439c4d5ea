"""Pods and the operator are killed all the time: each task counts exactly once, and nothing is left."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from mahavishnu_operator.backends.kubernetes.settings import POD
from tests.chaos.audit import find_breaches, find_loose_ends, read_books
from tests.chaos.evidence import Evidence, keep, repeat
from tests.chaos.processes import is_alive, kill
from tests.chaos.reading import sqlite_query
from tests.integration.operator_tools import POOL, OperatorProcess, poll

from .node_processes import processes_of
from .operating import NODE_DEADLINE, PodSite
from .telling import PodWitness

MAX_ATTEMPTS = 10


@dataclass(frozen=True)
class Weather:
    """How hard it is: `pod_seconds` and `operator_seconds` from one that is killed to the next."""

    seed: int
    tasks: int
    workers: int
    task_seconds: float
    pod_seconds: float
    operator_seconds: float


@pytest.fixture(scope="module", autouse=True)
def short_leases() -> Iterator[None]:
    """So that an operator which was killed soon knows what became of its workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAHAVISHNU_LEASE_SECONDS", "3")
        yield


async def strike(what: str, site: PodSite, operator: OperatorProcess, chance: random.Random) -> str:
    """Kill the operator, or one of the Pods; how."""
    if what == "operator":
        operator.process.kill()
        await asyncio.to_thread(operator.start)
        return "kill operator"
    pods = (await site.resources.list(POD, namespace=site.namespace)).items
    victims = [pod for pod in pods if processes_of(pod)]
    if not victims:
        return "nothing"
    victim = chance.choice(victims)
    if chance.random() < 0.5:
        force = ("--force", "--grace-period=0", "--wait=false", "--ignore-not-found")
        site.kubectl("delete", "pod", victim["metadata"]["name"], *force)
        return "delete Pod"
    hit = [kill(process) for process in processes_of(victim)]
    return "kill Pod" if any(hit) else "nothing"


async def strike_until(
    over: Callable[[], bool], weather: Weather, site: PodSite, operator: OperatorProcess, witness: PodWitness
) -> Counter[str]:
    """Kill by the clock, but not before one more task came to its end: a slow machine has to get on with it too."""
    chance = random.Random(weather.seed)
    hit: Counter[str] = Counter()
    began, ended = time.monotonic(), 0
    due = {"pod": weather.pod_seconds, "operator": weather.operator_seconds}
    while not over():
        now = time.monotonic() - began
        what = min(due, key=lambda each: due[each])
        if now < due[what] or len(witness.read().ended) <= ended:
            await asyncio.sleep(0.1)  # the clock is what is waited for, and processes that tell nobody
            continue
        ended = len(witness.read().ended)
        hit[await strike(what, site, operator, chance)] += 1
        due[what] = time.monotonic() - began + (weather.pod_seconds if what == "pod" else weather.operator_seconds)
    return hit


async def storm(
    weather: Weather, site: PodSite, operator: OperatorProcess, witness: PodWitness, request: pytest.FixtureRequest
) -> None:
    begun = time.monotonic()
    await site.pool(replicas=weather.workers, maxWorkers=weather.workers)
    await site.ready(weather.workers)
    name = f"storm-{weather.seed}"  # the store still knows those of tests before
    plan = [f"t{number}" for number in range(weather.tasks)]
    argvs = [witness.command(name, seconds=weather.task_seconds) for name in plan]
    await site.commands(name, *argvs, maxAttempts=MAX_ATTEMPTS, timeoutSeconds=3600)
    query = sqlite_query(operator.folder / "data" / "engine.db")

    def over() -> bool:
        books = read_books(query, name)
        return bool(books.tasks) and books.ended

    async with asyncio.timeout(weather.tasks * 10 + NODE_DEADLINE):
        hit = await strike_until(over, weather, site, operator, witness)
    status = await site.ended(name)
    executions = witness.read()
    books = read_books(query, name)
    breaches = find_breaches(books, executions, plan=plan, max_attempts=MAX_ATTEMPTS, counts=status["tasks"])
    breaches += find_loose_ends(query)
    pods = (await site.resources.list(POD, namespace=site.namespace)).items
    site.kubectl("delete", f"scanjob/{name}", f"workerpool/{POOL}")
    await site.pods.pods(0)
    await poll(lambda: not any(map(is_alive, processes_of(*pods))), NODE_DEADLINE)
    states = [task.state for task in books.tasks]
    evidence = Evidence(
        system="pods",
        seed=weather.seed,
        faults=dict(hit),
        tasks=len(plan),
        succeeded=states.count("succeeded"),
        failed=states.count("failed"),
        attempts=books.outcomes,
        executions=executions.count,
        restarts=hit["kill operator"],
        seconds=round(time.monotonic() - begun, 1),
        breaches=breaches,
    )
    keep(evidence, request)
    assert not breaches, "\n".join([*breaches, repeat(request)])


async def test_each_task_counts_once_while_pods_and_the_operator_are_killed(
    site: PodSite, operator: OperatorProcess, witness: PodWitness, request: pytest.FixtureRequest
) -> None:
    short = Weather(seed=1, tasks=24, workers=3, task_seconds=1.0, pod_seconds=2.0, operator_seconds=6.0)
    await storm(short, site, operator, witness, request)


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_two_hundred_tasks_count_once_while_a_pod_is_killed_every_three_seconds(
    site: PodSite, operator: OperatorProcess, witness: PodWitness, request: pytest.FixtureRequest
) -> None:
    long = Weather(seed=2, tasks=200, workers=10, task_seconds=1.0, pod_seconds=3.0, operator_seconds=20.0)
    await storm(long, site, operator, witness, request)
