"""One storm from its beginning to its audit."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import pytest

from .audit import Books, find_breaches
from .evidence import Evidence, keep, repeat
from .processes import Family
from .storm import System, plan_strikes, run_storm
from .witness import PATIENCE_SECONDS, Witness

MAX_ATTEMPTS = 10


class Site(System, Protocol):
    """A system that can be brought to its end and looked into."""

    name: str
    plan: Sequence[str]
    restarts: int

    @property
    def servers(self) -> Collection[int]:
        """Pids of its processes that stay for other tests."""
        ...

    def calm(self) -> None:
        """Let all faults be over, and be healthy."""
        ...

    def books(self) -> Books:
        """What its store says now."""
        ...

    def counts(self) -> Mapping[str, int] | None:
        """status.tasks once the job has ended; None where there is no ScanJob. AssertionError: it does not end."""
        ...

    def shut_down(self) -> list[str]:
        """Stop everything politely; what it left behind, in sentences."""
        ...


def weather(
    site: Site, family: Family, witness: Witness, request: pytest.FixtureRequest, *, seed: int, count: int
) -> None:
    """`count` strikes, the end of the job, and the audit: AssertionError with every breach and how to repeat it."""
    begun = time.monotonic()
    try:
        faults = run_storm(site, witness, plan_strikes(seed, site.faults, count=count, tasks=len(site.plan)))
        site.calm()
        books = wait_ended(site)
        counts = site.counts()
        breaches = site.shut_down()
    except Exception as error:
        error.add_note(repeat(request))
        raise
    executions = witness.read()
    breaches += find_breaches(books, executions, plan=site.plan, max_attempts=MAX_ATTEMPTS, counts=counts)
    breaches += [f"still alive: {words}" for words in family.wait_alone(site.servers)]
    states = [task.state for task in books.tasks]
    evidence = Evidence(
        system=site.name,
        seed=seed,
        faults=dict(sorted(faults.items())),
        tasks=len(site.plan),
        succeeded=states.count("succeeded"),
        failed=states.count("failed"),
        attempts=books.outcomes,
        executions=executions.count,
        restarts=site.restarts,
        seconds=round(time.monotonic() - begun, 1),
        breaches=breaches,
    )
    keep(evidence, request)
    assert not breaches, "\n".join([*breaches, repeat(request)])


def wait_ended(site: Site) -> Books:
    """The books once no task is left; the deadline begins anew whenever a task ends."""
    left, deadline = -1, 0.0
    while not (books := site.books()).ended:
        if left != (left := len(books.tasks) - len(books.results)):
            deadline = time.monotonic() + PATIENCE_SECONDS
        assert time.monotonic() < deadline, f"{left} tasks do not end"
        site.look_after()
        time.sleep(0.05)
    return books
