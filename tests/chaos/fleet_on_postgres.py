"""The same fleet with its store on a PostgreSQL server, which is killed and started again, and the way to which fails.

A dispatcher waits half a minute for its server and goes on by itself. Where a commit was under way and its answer was
lost for good, it cannot know what its store holds: then it ends, and is started again by who deployed it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from tests.postgres.server import PostgresServer

from .fleet import Fleet
from .network import FaultyNetwork
from .processes import stop_for
from .reading import postgres_query
from .storm import Fault, Strike
from .witness import Witness

DATABASE_FAULTS = (
    Fault("kill database", 4),
    Fault("cut database connections", 4),
    Fault("slow database", 2, (0.3, 1.0)),
    Fault("stop database", 2, (0.5, 4.0)),
    Fault("half-open database", 3, (0.5, 4.0)),
    Fault("lose answers of the database", 4),
)
OTHERS = (
    Fault("kill dispatcher", 2),
    Fault("stop dispatcher", 1, (0.5, 3.0)),
    Fault("kill agent", 2),
    Fault("kill runner", 2),
    Fault("kill tool", 2),
    Fault("lose answers", 2),
)


class FleetOnPostgres(Fleet):
    """`server` is up when the fleet is entered. The dispatcher reaches it through a faulty network."""

    faults: Sequence[Fault] = DATABASE_FAULTS + OTHERS
    name = "fleet-postgres"

    def __init__(self, folder: Path, witness: Witness, server: PostgresServer, *, tasks: int, seconds: float) -> None:
        url = server.make_database()
        self._server, self._way = server, FaultyNetwork(server.port)
        self._way.__enter__()
        super().__init__(
            folder,
            witness,
            tasks=tasks,
            seconds=seconds,
            query=postgres_query(url),
            store_url=url.replace(f":{server.port}/", f":{self._way.port}/"),
        )
        self._stack.push(self._way)

    def _others(self, strike: Strike) -> Mapping[str, Callable[[], None]]:
        way = self._way

        def slow() -> None:
            way.be_slow(True)
            self._later.undo(strike.seconds, lambda: way.be_slow(False))

        def stop() -> None:
            server = psutil.Process(self._server.process.pid)
            for process in [server, *server.children()]:
                stop_for(strike.seconds, process, self._later)

        def half_open() -> None:
            way.be_half_open(True)
            self._later.undo(strike.seconds, lambda: way.be_half_open(False))

        return {
            **super()._others(strike),
            "kill database": self._server.restart,
            "cut database connections": way.cut,
            "slow database": slow,
            "stop database": stop,
            "half-open database": half_open,
            "lose answers of the database": lambda: way.lose_answers(1),
        }

    def shut_down(self) -> list[str]:
        """Stop everything politely, the database last."""
        found = super().shut_down()
        self._server.kill()
        return found
