"""The operator on a real API server with its store in PostgreSQL, and everything that it stands on is struck too.

The operator waits for its API server and its database and goes on by itself. It ends, in words, where a watch is lost
for good or where it cannot know what its database holds; then it is started again here, as its Deployment would.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.cluster.client import Cluster, KubectlError
from tests.cluster.controlplane import ControlPlane
from tests.cluster.process import ClusterError
from tests.integration.operator_tools import OperatorProcess, account, deploy
from tests.postgres.server import PostgresServer

from .audit import Books, read_books
from .embedded import JOB_NAME, files_below, manifests
from .processes import AGENT, RUNNER, TOOL, Later, choose, find, kill, stop_for, wait_gone
from .reading import postgres_query
from .storm import Fault, Strike
from .witness import PATIENCE_SECONDS, Witness

CLUSTER_FAULTS = (
    Fault("kill kube-apiserver", 3),
    Fault("stop kube-apiserver", 2, (0.5, 4.0)),
    Fault("kill etcd", 3),
    Fault("stop etcd", 2, (0.5, 3.0)),
    Fault("kill database", 3),
)
PROCESS_FAULTS = (
    Fault("kill operator", 3),
    Fault("stop operator", 2, (0.5, 3.0)),
    Fault("kill agent", 3),
    Fault("stop agent", 2, (0.5, 3.0)),
    Fault("kill runner", 3),
    Fault("kill tool", 4),
    Fault("stop tool", 2, (0.2, 1.5)),
)


class Clustered:
    """`with Clustered(...) as site`. The control plane belongs to the test module and stays; the rest goes."""

    faults: Sequence[Fault] = CLUSTER_FAULTS + PROCESS_FAULTS
    name = "operator"

    def __init__(
        self,
        folder: Path,
        witness: Witness,
        plane: ControlPlane,
        server: PostgresServer,
        *,
        tasks: int,
        seconds: float,
    ) -> None:
        """Take over the plane's objects of our kinds; `server` is up."""
        self.plan: Sequence[str] = [f"t{number}" for number in range(tasks)]
        self.folder, self.restarts = folder, 0
        self._plane, self._server = plane, server
        self._manifests = manifests(witness, self.plan, seconds=seconds)
        self._stack, self._later = ExitStack(), Later()
        url = server.make_database()
        self._query = postgres_query(url)
        deploy(self._cluster)
        self._cluster.kubectl("delete", "workerpools.mahavishnu.dev,scanjobs.mahavishnu.dev", "--all")
        self.operator = OperatorProcess(account(self._cluster), folder, root=folder, more=("--store-url", url))

    @property
    def _cluster(self) -> Cluster:
        return self._plane.cluster

    @property
    def servers(self) -> Collection[int]:
        """The control plane's processes, which may have been started anew since."""
        return [self._plane.process(name).pid for name in self._plane.components]

    def __enter__(self) -> Clustered:
        self._stack.callback(self.operator.close)
        self.operator.start()
        self._cluster.kubectl(
            "apply", "-f", "-", input=json.dumps({"kind": "List", "apiVersion": "v1", "items": self._manifests})
        )
        return self

    def __exit__(self, *_: object) -> None:
        with self._stack:
            self._later.finish()
            for name in self._plane.components:
                if not self._plane.process(name).running:
                    self._plane.start(name)

    def look_after(self) -> None:
        """Start again what ended by itself: an API server without its etcd, an operator that said why."""
        for name in self._plane.components:
            if not self._plane.process(name).running:
                self._plane.process(name).start()
        process = self.operator.process
        if not process.running:
            assert process.exit_code == 1, f"it ended with {process.exit_code}: {process.log_tail()}"
            self.restarts += 1
            process.start()

    def strike(self, strike: Strike) -> bool:
        """One of `faults`."""
        word, _, what = strike.fault.partition(" ")
        if what in (AGENT, RUNNER, TOOL, "operator"):
            return self._strike_process(word, what, strike)
        if what == "database":
            self._server.restart()
            return True
        process = self._plane.process(what)
        if not process.running:
            return False
        if word == "stop":
            return stop_for(strike.seconds, psutil.Process(process.pid), self._later)
        process.kill()
        process.start()
        return True

    def _strike_process(self, word: str, what: str, strike: Strike) -> bool:
        process = self.operator.process
        if not process.running:
            return False
        if what == "operator" and word == "kill":
            below = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            late = wait_gone(below)
            assert not late, f"workers outlived their operator: {late}"
            self.restarts += 1
            process.start()
            return True
        found = [psutil.Process(process.pid)] if what == "operator" else find([process.pid], what)
        victim = choose(strike.pick, found)
        if victim is None:
            return False
        return kill(victim) if word == "kill" else stop_for(strike.seconds, victim, self._later)

    # --- its end --------------------------------------------------------------------------------------

    def calm(self) -> None:
        """Let all faults be over, and wait until the control plane and the operator say that they are well."""
        self._later.finish()
        for name in self._plane.components:
            process = self._plane.process(name)
            if not process.running:
                process.start()
            process.wait_ready()
        self._until(self._healthy)

    def _healthy(self) -> bool:
        self.look_after()
        with suppress(ClusterError, OSError):
            self.operator.get("/healthz")
            return True
        return False

    def books(self) -> Books:
        """What the store says now."""
        return read_books(self._query, JOB_NAME)

    def counts(self) -> Mapping[str, int]:
        """status.tasks of the ScanJob at its end."""
        status: dict[str, Any] = {}

        def ended() -> bool:
            self.look_after()
            with suppress(KubectlError):
                status.update(self._cluster.json("get", "scanjobs.mahavishnu.dev", JOB_NAME).get("status") or {})
            return status.get("phase") in ("Succeeded", "Failed")

        self._until(ended)
        counts: Mapping[str, int] = status["tasks"]
        return counts

    def shut_down(self) -> list[str]:
        """Stop the operator politely; what it left behind, in sentences."""
        lines = self.operator.get("/metrics").decode().splitlines()
        held = ("mahavishnu_dispatch_queued_tasks{", "mahavishnu_dispatch_running_tasks{")
        found = [f"at the end: {line}" for line in lines if line.startswith(held) and not line.endswith(" 0.0")]
        self.operator.process.stop(timeout=60)
        if self.operator.process.exit_code != 0:
            found.append(f"the operator ended with {self.operator.process.exit_code}")
        found += [f"a file of a worker is left: {path}" for path in files_below(self.folder / "data" / "workers")]
        self._server.kill()
        return found

    def _until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not true():
            assert time.monotonic() < deadline, self.operator.process.log_tail()
            time.sleep(0.2)
