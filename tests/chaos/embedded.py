"""`mahavishnu up` as the system under test: the whole engine in one process, its workers below it.

A worker's death is told by its parent here, and the death of the server takes all its workers along. What the
deployment does is done here: a server that was killed is started again on the same folder.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from tests.cluster.ports import PortReservation
from tests.cluster.process import Program, ServerProcess

from .audit import Books, Query, find_loose_ends, read_books
from .clock import SteppedClock
from .disk import SmallDisk
from .processes import Later, choose, find, kill, stop_for, wait_gone
from .storm import Fault, Strike
from .weather import MAX_ATTEMPTS
from .witness import PATIENCE_SECONDS, Witness

PATH = "/apis/mahavishnu.dev/v1alpha1/namespaces/default"
MAHAVISHNU = str(Path(sys.executable).with_name("mahavishnu"))
LEASE_SECONDS = 2.0
WORKERS = 3
JOB_NAME = "chaos"
SCAN_NAME = "scan"
FILES = 18
FILES_A_TASK = 3

PROCESS_FAULTS = (
    Fault("kill server", 3),
    Fault("stop server", 3, (0.5, LEASE_SECONDS + 1.0)),
    Fault("restart server", 2),
    Fault("kill agent", 4),
    Fault("stop agent", 3, (0.5, LEASE_SECONDS + 1.0)),
    Fault("kill runner", 5),
    Fault("stop runner", 3, (0.2, 1.5)),
    Fault("kill tool", 6),
    Fault("stop tool", 3, (0.2, 1.5)),
)
CLOCK_FAULTS = (Fault("step clock", 4),)
DISK_FAULTS = (
    Fault("disk full", 20, (0.3, 3.0)),
    Fault("kill server", 2),
    Fault("kill agent", 2),
    Fault("kill runner", 2),
    Fault("stop agent", 1, (0.5, LEASE_SECONDS + 1.0)),
)


def manifests(witness: Witness, plan: Sequence[str], *, seconds: float) -> list[dict[str, Any]]:
    """A pool of local workers, and a job whose tasks tell the witness that they ran."""
    kind = {"apiVersion": "mahavishnu.dev/v1alpha1", "metadata": {"name": JOB_NAME, "namespace": "default"}}
    pool = {"backend": "local-process", "replicas": WORKERS, "maxWorkers": WORKERS, "allowedCommands": ["any"]}
    tasks = [{"id": name, "command": witness.command(name, seconds=seconds)} for name in plan]
    job = {"poolRef": {"name": JOB_NAME}, "tasks": tasks, "maxAttempts": MAX_ATTEMPTS, "timeoutSeconds": 86400}
    return [kind | {"kind": "WorkerPool", "spec": pool}, kind | {"kind": "ScanJob", "spec": job}]


def scan_manifest(source: Path) -> dict[str, Any]:
    """A scan of files with one finding in each, so that its report tells whether each task counted once."""
    source.mkdir()
    for number in range(FILES):
        (source / f"module_{number}.py").write_text("import os\n")
    scan = {"tools": ["ruff", "codespell"], "chunking": {"mode": "Fixed", "size": FILES_A_TASK}}
    spec = {"poolRef": {"name": JOB_NAME}, "source": {"path": str(source)}, "scan": scan}
    spec |= {"maxAttempts": MAX_ATTEMPTS, "timeoutSeconds": 86400}
    metadata = {"name": SCAN_NAME, "namespace": "default"}
    return {"apiVersion": "mahavishnu.dev/v1alpha1", "kind": "ScanJob", "metadata": metadata, "spec": spec}


class Embedded:
    """`with Embedded(...) as system`. `data` on the small disk where there is one."""

    faults: Sequence[Fault] = PROCESS_FAULTS + CLOCK_FAULTS
    name = "embedded"
    servers: Collection[int] = ()

    def __init__(self, folder: Path, witness: Witness, *, tasks: int, seconds: float, query: Query, data: Path) -> None:
        self.folder, self.data, self._query = folder, data, query
        self.plan: Sequence[str] = [f"t{number}" for number in range(tasks)]
        self._manifests = [*manifests(witness, self.plan, seconds=seconds), scan_manifest(folder / "source")]
        self.disk: SmallDisk | None = None
        self.restarts = 0
        self._stack, self._later = ExitStack(), Later()
        self._clock = SteppedClock(folder / "clock")
        reservation = PortReservation(2)
        self._stack.callback(reservation.release)
        port, dispatch = reservation.ports
        self._url = f"http://127.0.0.1:{port}"
        self._temporary = folder / "tmp"
        self._temporary.mkdir()
        environment = {
            **self._clock.environment,
            "MAHAVISHNU_LEASE_SECONDS": str(LEASE_SECONDS),
            "MAHAVISHNU_CONFIG": "/nonexistent/config.yaml",
            "TMPDIR": str(self._temporary),
        }
        command = [f"{name}={value}" for name, value in environment.items()]
        command += [MAHAVISHNU, "up", "--data", str(data), "--port", str(port), "--dispatch-port", str(dispatch)]
        program = Program("mahavishnu up", ("/usr/bin/env", *command), self._not_ready)
        self.server = ServerProcess(program, folder / "server.log")

    def __enter__(self) -> Embedded:
        self._stack.callback(self.server.kill)
        self.server.start()
        self.server.wait_ready()
        for manifest in self._manifests:
            self._apply(manifest)
        return self

    def __exit__(self, *_: object) -> None:
        with self._stack:
            self._later.finish()

    def look_after(self) -> None:
        """AssertionError: the server ended by itself, which no fault here is a reason for."""
        assert self.server.running, f"the server ended by itself: {self.server.log_tail()}"

    def strike(self, strike: Strike) -> bool:
        """One of `faults`."""
        word, _, what = strike.fault.partition(" ")
        if strike.fault == "step clock":
            self._clock.step(strike.pick)
            return True
        if strike.fault == "disk full":
            return self._fill_disk(strike.seconds)
        if strike.fault == "kill server":
            self._kill_server()
            return True
        if strike.fault == "restart server":
            self._restart_server()
            return True
        victim = self._victim(what, strike.pick)
        if victim is None:
            return False
        return kill(victim) if word == "kill" else stop_for(strike.seconds, victim, self._later)

    def _victim(self, what: str, pick: float) -> psutil.Process | None:
        if what == "server":
            return psutil.Process(self.server.pid)
        return choose(pick, find([self.server.pid], what))

    def _kill_server(self) -> None:
        below = psutil.Process(self.server.pid).children(recursive=True)
        self.server.kill()
        self._start_again(below)

    def _restart_server(self) -> None:
        """As for an upgrade: SIGTERM, and it ends by itself."""
        self._later.finish()  # what is stopped now could not end in order
        below = psutil.Process(self.server.pid).children(recursive=True)
        self.server.stop(timeout=60)
        assert self.server.exit_code == 0, f"told to stop, the server failed: {self.server.log_tail()}"
        self._start_again(below)

    def _start_again(self, below: Sequence[psutil.Process]) -> None:
        late = wait_gone(below)
        assert not late, f"workers outlived their server: {late}"
        self._later.finish()  # a disk that is full now would keep it from starting
        self.restarts += 1
        self.server.start()
        self.server.wait_ready()

    def _fill_disk(self, seconds: float) -> bool:
        assert self.disk is not None, "this system has no small disk"
        self.disk.fill()
        self._later.undo(seconds, self.disk.clear)
        return True

    # --- its end --------------------------------------------------------------------------------------

    def calm(self) -> None:
        """Let all faults be over."""
        self._later.finish()

    def books(self) -> Books:
        """What the store says now."""
        return read_books(self._query, JOB_NAME)

    def counts(self) -> Mapping[str, int]:
        """status.tasks of the ScanJob of commands at its end."""
        counts: Mapping[str, int] = self._ended(JOB_NAME)["tasks"]
        return counts

    def _ended(self, name: str) -> Mapping[str, Any]:
        """The status of a ScanJob at its end."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        status: Mapping[str, Any] = {}
        while status.get("phase") not in ("Succeeded", "Failed"):
            assert time.monotonic() < deadline, f"the ScanJob does not end: {status}"
            time.sleep(0.1)
            status = json.loads(self._call("GET", f"{PATH}/scanjobs/{name}")).get("status") or {}
        return status

    def shut_down(self) -> list[str]:
        """Stop it politely; what it left behind, in sentences."""
        found = [*self._check_scan(), *self._check_metrics()]
        self.server.stop(timeout=60)
        if self.server.exit_code != 0:
            found.append(f"the server ended with {self.server.exit_code}: {self.server.log_tail()}")
        found += [f"a file of a worker is left: {path}" for path in files_below(self.data / "workers")]
        found += [f"a temporary file is left: {path}" for path in files_below(self._temporary)]
        return found

    def _check_scan(self) -> list[str]:
        """The report has each finding once, and no blob is there that no job names."""
        status = self._ended(SCAN_NAME)
        tasks, findings = status["tasks"], status.get("findings", {}).get("total")
        expected = 2 * FILES // FILES_A_TASK
        found = find_loose_ends(self._query)
        if (status["phase"], tasks["total"], tasks["succeeded"]) != ("Succeeded", expected, expected):
            found.append(f"the scan of {expected} tasks is {status}")
        if findings != FILES:
            found.append(f"the scan of {FILES} files has {findings} findings")
        named = {sha for (sha,) in self._query("SELECT sha256 FROM blob_refs")}
        files = files_below(self.data / "blobs")
        found += [f"a blob is left that no job names: {file}" for file in files if file.name not in named]
        if missing := named - {file.name for file in files}:
            found.append(f"blobs are named and not there: {missing}")
        return found

    def _check_metrics(self) -> list[str]:
        lines = self._call("GET", "/metrics").decode().splitlines()
        held = [
            line
            for line in lines
            if line.startswith(("mahavishnu_dispatch_queued_tasks{", "mahavishnu_dispatch_running_tasks{"))
        ]
        if not held:
            return ["there are no metrics of queued and running tasks"]
        return [f"at the end: {line}" for line in held if not line.endswith(" 0.0")]

    def _apply(self, manifest: Mapping[str, Any]) -> None:
        resource = manifest["kind"].lower() + "s"
        self._call("POST", f"{PATH}/{resource}", json.dumps(manifest).encode())

    def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        headers = {"Content-Type": "application/json"} if body else {}
        request = urllib.request.Request(self._url + path, data=body, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                data: bytes = answer.read()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()[:2000]}") from None
        return data

    def _not_ready(self) -> str | None:
        try:
            with urllib.request.urlopen(self._url + "/healthz", timeout=2):
                return None
        except OSError as error:
            return str(error)


def files_below(folder: Path) -> list[Path]:
    """Every file below a folder."""
    return sorted(path for path in folder.rglob("*") if not path.is_dir())
