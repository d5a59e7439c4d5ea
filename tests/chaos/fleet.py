"""A dispatcher and agents on other machines, as it were: no backend tells of a death, leases alone do.

The network between them is a proxy that can be struck, leases last two seconds, and wall clocks can be stepped on
either side. What the deployment does is done here: a process that was killed is started again at once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec
import psutil

from tests.cluster.ports import PortReservation
from tests.cluster.process import Program, ServerProcess

from .audit import Books, Query, read_books
from .clock import SteppedClock
from .dispatcher import JOB, POOL, Memory, Setup
from .network import FaultyNetwork
from .processes import AGENT, RUNNER, TOOL, Later, choose, find, kill, stop_for, terminate
from .storm import Fault, Strike
from .weather import MAX_ATTEMPTS
from .witness import Witness

LEASE_SECONDS = 2.0
WORKERS = ("w1", "w2", "w3")
PAST_THE_LEASE = (LEASE_SECONDS + 0.5, LEASE_SECONDS + 1.5)
LOST_ANSWERS = 3

PROCESS_FAULTS = (
    Fault("kill dispatcher", 2),
    Fault("stop dispatcher", 2, PAST_THE_LEASE),
    Fault("kill agent", 4),
    Fault("restart agent", 2),
    Fault("stop agent", 3, PAST_THE_LEASE),
    Fault("kill runner", 5),
    Fault("stop runner", 3, (0.2, 1.5)),
    Fault("kill tool", 6),
    Fault("stop tool", 3, (0.2, 1.5)),
)
NETWORK_FAULTS = (
    Fault("cut connections", 4),
    Fault("slow network", 2, (0.5, 2.0)),
    Fault("half-open network", 3, (0.5, LEASE_SECONDS + 1.0)),
    Fault("lose answers", 4),
)
CLOCK_FAULTS = (Fault("step dispatcher's clock", 4), Fault("step workers' clock", 4))


class Fleet:
    """`with Fleet(...) as fleet`: a system under test. `query`: reads the store's rows while the fleet works."""

    faults: Sequence[Fault] = PROCESS_FAULTS + NETWORK_FAULTS + CLOCK_FAULTS
    name = "fleet-sqlite"
    servers: Collection[int] = ()  # processes of the system that outlive its shutting down

    def __init__(
        self, folder: Path, witness: Witness, *, tasks: int, seconds: float, query: Query, store_url: str = ""
    ) -> None:
        self.folder, self._query = folder, query
        self.plan: Sequence[str] = [f"t{number}" for number in range(tasks)]
        self.restarts = 0
        self._stack = ExitStack()
        self._later = Later()
        self._agents: dict[str, subprocess.Popen[bytes]] = {}
        self._told_to_stop: set[int] = set()
        self._clocks = {side: SteppedClock(folder / f"clock-of-{side}") for side in ("dispatcher", "workers")}
        reservation = PortReservation(1)
        self._stack.callback(reservation.release)
        self._port = reservation.ports[0]
        self._setup = Setup(
            folder=str(folder),
            port=self._port,
            lease_seconds=LEASE_SECONDS,
            max_attempts=MAX_ATTEMPTS,
            tasks={name: witness.command(name, seconds=seconds) for name in self.plan},
            workers=WORKERS,
            store_url=store_url,
        )
        command = [f"{name}={value}" for name, value in self._clocks["dispatcher"].environment.items()]
        command += [sys.executable, "-m", "tests.chaos.dispatcher", str(folder / "setup.json")]
        program = Program("dispatcher", ("/usr/bin/env", *command), self._not_ready)
        self.dispatcher = ServerProcess(program, folder / "dispatcher.log")

    def __enter__(self) -> Fleet:
        (self.folder / "setup.json").write_bytes(msgspec.json.encode(self._setup))
        self._stack.callback(self.dispatcher.kill)
        self.dispatcher.start()
        self.dispatcher.wait_ready()
        self._tokens: dict[str, str] = msgspec.json.decode((self.folder / "tokens.json").read_bytes())
        self._network = self._stack.enter_context(FaultyNetwork(self._port))
        self._stack.callback(self._kill_agents)
        for name in WORKERS:
            self._start_agent(name)
        return self

    def __exit__(self, *_: object) -> None:
        with self._stack:
            self._later.finish()

    # --- what a deployment does -----------------------------------------------------------------------

    def look_after(self) -> None:
        """Start again what ended. AssertionError: an agent ended by itself, which it never has a reason for."""
        for name, agent in list(self._agents.items()):
            if agent.poll() is not None:
                allowed = (-9, 0) if agent.pid in self._told_to_stop else (-9,)
                assert agent.returncode in allowed, (
                    f"agent {name} ended with {agent.returncode}: {self._last_words(name)}"
                )
                self.restarts += 1
                _close_pipe(agent)
                self._start_agent(name)
        if not self.dispatcher.running:
            self.restarts += 1
            self._start_dispatcher()

    def _start_dispatcher(self) -> None:
        self.dispatcher.start()
        with suppress(Exception):  # it may have been struck again, or its database is away: seen the next time
            self.dispatcher.wait_ready()

    def _start_agent(self, name: str) -> None:
        config = {
            "server": f"http://127.0.0.1:{self._network.port}",
            "token": self._tokens[name],
            "pool": POOL,
            "worker": name,
            "workDir": str(self.folder / "workers" / name),
            "graceSeconds": 30.0,
        }
        with (self.folder / f"{name}.log").open("ab") as stderr:
            agent = subprocess.Popen(
                [sys.executable, "-P", "-m", "mahavishnu_operator.worker"],
                stdin=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, **self._clocks["workers"].environment},
                start_new_session=True,
            )
        assert agent.stdin is not None
        agent.stdin.write(json.dumps(config).encode() + b"\n")
        agent.stdin.flush()
        self._agents[name] = agent

    # --- what strikes it ------------------------------------------------------------------------------

    def strike(self, strike: Strike) -> bool:
        """One of `faults`."""
        word, _, what = strike.fault.partition(" ")
        if what in (AGENT, RUNNER, TOOL):
            victim = choose(strike.pick, find([agent.pid for agent in self._agents.values()], what))
            return victim is not None and self._hit(word, victim, strike.seconds)
        if what == "dispatcher":
            hit = self.dispatcher.running and self._hit(word, psutil.Process(self.dispatcher.pid), strike.seconds)
            if word == "kill":
                self.dispatcher.kill()  # waits for it
            return hit
        self._others(strike)[strike.fault]()
        return True

    def _hit(self, word: str, victim: psutil.Process, seconds: float) -> bool:
        if word == "restart":  # as for an upgrade: it hands back what it cannot finish, and leaves
            self._told_to_stop.add(victim.pid)
            return terminate(victim)
        return kill(victim) if word == "kill" else stop_for(seconds, victim, self._later)

    def _others(self, strike: Strike) -> Mapping[str, Callable[[], None]]:
        network, clocks, undo = self._network, self._clocks, self._later.undo

        def slow() -> None:
            network.be_slow(True)
            undo(strike.seconds, lambda: network.be_slow(False))

        def half_open() -> None:
            network.be_half_open(True)
            undo(strike.seconds, lambda: network.be_half_open(False))

        return {
            "cut connections": network.cut,
            "slow network": slow,
            "half-open network": half_open,
            "lose answers": lambda: network.lose_answers(LOST_ANSWERS),
            "step dispatcher's clock": lambda: clocks["dispatcher"].step(strike.pick),
            "step workers' clock": lambda: clocks["workers"].step(strike.pick),
        }

    # --- its end --------------------------------------------------------------------------------------

    def calm(self) -> None:
        """Let all faults be over."""
        self._later.finish()

    def books(self) -> Books:
        """What the store says now."""
        return read_books(self._query, JOB)

    def counts(self) -> None:
        """There is no ScanJob here."""

    def shut_down(self) -> list[str]:
        """Stop everything politely; what it left behind, in sentences."""
        self.look_after()
        found = []
        for agent in self._agents.values():
            agent.terminate()
        for name, agent in self._agents.items():
            if code := agent.wait(120):
                found.append(f"agent {name} was told to stop and ended with {code}: {self._last_words(name)}")
            left = [path.name for path in (self.folder / "workers" / name / "scratch").iterdir()]
            if left:
                found.append(f"agent {name} left scratch folders: {left}")
            _close_pipe(agent)
        self.dispatcher.stop()
        if self.dispatcher.exit_code != 0:
            found.append(f"the dispatcher ended with {self.dispatcher.exit_code}: {self.dispatcher.log_tail()}")
            return found
        memory = msgspec.json.decode((self.folder / "memory.json").read_bytes(), type=Memory)
        if memory != Memory(0, 0, 0):
            found.append(f"the dispatcher still held {memory}")
        return found

    def _kill_agents(self) -> None:
        for agent in self._agents.values():
            agent.kill()
            agent.wait()
            _close_pipe(agent)

    def _last_words(self, name: str) -> str:
        return "\n".join((self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-5:])

    def _not_ready(self) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/healthz", timeout=2):
                return None
        except OSError as error:
            return str(error)


def _close_pipe(agent: subprocess.Popen[bytes]) -> None:
    if agent.stdin is not None:
        agent.stdin.close()
