"""A pool played forward: decisions applied to a model of backend and dispatcher, whatever happens in between."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from mahavishnu_operator.backends.protocol import ObservedWorker, WorkerPhase
from mahavishnu_operator.control.census import PoolState
from mahavishnu_operator.control.crashes import CrashHistory
from mahavishnu_operator.control.pools import decide_pool
from mahavishnu_operator.dispatch.protocol import PoolLoad, WorkerView

from .test_pools import spec


@dataclass
class World:
    """What a backend and a dispatcher would say. A tick is ten seconds."""

    replicas: int = 2
    slots: int = 1
    now: float = 1000.0
    processes: dict[str, ObservedWorker] = field(default_factory=dict)
    sessions: dict[str, WorkerView] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    crash: CrashHistory = field(default_factory=CrashHistory)
    made: int = 0
    most: int = 0
    killed_busy: int = 0

    def state(self) -> PoolState:
        return PoolState(
            spec=spec(replicas=self.replicas, maxWorkers=4, slotsPerWorker=self.slots),
            now=self.now,
            revision=f"r{self.slots}",
            observed=tuple(self.processes.values()),
            load=PoolLoad(workers=tuple(self.sessions.values())),
            crash=self.crash,
            asked_to_leave=frozenset(self.asked & self.processes.keys()),
        )

    def tick(self) -> None:
        """Decide and act as the reconciler does; then time passes."""
        decision = decide_pool(self.state())
        self.crash = decision.crash
        for name in decision.remove:
            del self.processes[name]
        for name in decision.drain:
            self.asked.add(name)
            session = self.sessions.get(name)
            if session is not None:
                self.sessions[name] = replace(session, draining=True)
            if session is None or session.held == 0:
                self.stop(name)
        for name in decision.stop:
            self.stop(name)
        for _ in range(decision.start):
            self.made += 1
            name = f"w{self.made}"
            self.processes[name] = ObservedWorker(name, WorkerPhase.RUNNING, f"r{self.slots}", started_at=self.now)
        self.most = max(self.most, sum(p.phase is not WorkerPhase.FAILED for p in self.processes.values()))
        self.now += 10.0
        for name, process in self.processes.items():
            if process.phase is WorkerPhase.RUNNING and name not in self.sessions:
                self.sessions[name] = WorkerView(name, self.slots, 0, name in self.asked, self.now, 0.0, 0)

    def stop(self, name: str) -> None:
        session = self.sessions.pop(name, None)
        self.killed_busy += session is not None and session.held > 0
        self.processes.pop(name, None)

    def crash_one(self, pick: int) -> None:
        running = [name for name, p in self.processes.items() if p.phase is WorkerPhase.RUNNING]
        if running:
            name = running[pick % len(running)]
            self.sessions.pop(name, None)
            failed = replace(self.processes[name], phase=WorkerPhase.FAILED, ended_at=self.now)
            self.processes[name] = failed

    def work(self, pick: int, held: int) -> None:
        names = sorted(name for name, session in self.sessions.items() if held == 0 or not session.draining)
        if names:
            name = names[pick % len(names)]
            self.sessions[name] = replace(self.sessions[name], held=held, idle_seconds=None if held else 0.0)


happenings = st.lists(
    st.one_of(
        st.tuples(st.just("scale"), st.integers(0, 6)),
        st.tuples(st.just("slots"), st.integers(1, 3)),
        st.tuples(st.just("crash"), st.integers(0, 5)),
        st.tuples(st.just("busy"), st.integers(0, 5)),
        st.tuples(st.just("idle"), st.integers(0, 5)),
        st.tuples(st.just("wait"), st.just(0)),
    ),
    max_size=20,
)


@settings(max_examples=200, deadline=None)
@given(happenings)
def test_whatever_happens_the_pool_comes_to_what_is_wanted_and_stops_no_busy_worker(
    events: list[tuple[str, int]],
) -> None:
    world = World()
    for what, number in events:
        match what:
            case "scale":
                world.replicas = number
            case "slots":
                world.slots = number
            case "crash":
                world.crash_one(number)
            case "busy":
                world.work(number, 1)
            case "idle":
                world.work(number, 0)
        world.tick()
    for name in list(world.sessions):
        world.sessions[name] = replace(world.sessions[name], held=0, idle_seconds=0.0)
    for _ in range(40):
        world.tick()
    assert world.killed_busy == 0
    assert world.most <= 4
    assert len(world.processes) == min(world.replicas, 4)
    assert {process.revision for process in world.processes.values()} <= {f"r{world.slots}"}
