"""The real `mahavishnu operator` as a process under its own service account, and what tests say to its API server."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mahavishnu_operator.resources.kubernetes import KubernetesResources
from mahavishnu_operator.resources.protocol import SCAN_JOB, WORKER_POOL, EventType, Key, Kind, Obj, WatchEvent
from tests.cluster.client import Cluster
from tests.cluster.pki import KeyPair
from tests.cluster.ports import PortReservation
from tests.cluster.process import Program, ServerProcess, Spawned

from .forked_command import command_server

REPOSITORY = Path(__file__).resolve().parents[2]
CRDS, DEPLOY = REPOSITORY / "crds", REPOSITORY / "deploy"
SYSTEM, ACCOUNT = "mahavishnu-system", "mahavishnu-operator"
DEADLINE = 60.0
POOL = "local"

NOTE = "import sys; open(sys.argv[1], 'a').write('ran\\n')"
HANG = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
GATED = (
    "import os, sys, time\n"
    "open(sys.argv[1], 'a').write('began\\n')\n"
    "while not os.path.exists(sys.argv[2]): time.sleep(0.02)\n"
)


def python(script: str, *arguments: Path) -> list[str]:
    """A command task that runs a script."""
    return [sys.executable, "-c", script, *map(str, arguments)]


@dataclass(frozen=True)
class Entrance:
    """An address of this machine at which Pods of a node reach a dispatcher, and what proves it to them.

    `name`: of a Service in front of it, which Pods are told instead; empty: none.
    """

    host: str
    certificate: KeyPair
    authority: Path
    name: str = ""


class _Forked(ServerProcess):
    """A `mahavishnu` that has its modules loaded, with the rest of its program's command line."""

    def _spawn(self) -> Spawned:
        arguments, cwd, env = list(self.program.argv[1:]), str(Path.cwd()), dict(os.environ)
        with self.log.open("ab") as log:
            server, stream = command_server(servers=True), log.fileno()
            return server.start(arguments, cwd=cwd, env=env, out=stream, err=stream, new_session=True)


class OperatorProcess:
    """A `mahavishnu operator` with a folder and ports of its own, to be started, stopped and killed; dies with us."""

    def __init__(
        self,
        account: Cluster,
        folder: Path,
        *,
        root: Path | None,
        namespaces: Sequence[str] = (),
        more: Sequence[str] = (),
        worker_image: str = "",
        entrance: Entrance | None = None,
        forked: bool = True,
    ) -> None:
        """`root`: what jobs may read; None: no local workers. `worker_image`: of Pods. `more`: further arguments.

        `forked`: begin with the modules loaded; else as the program does, for who measures it.

        `entrance`: where the dispatcher listens with TLS; None: at loopback without.
        """
        self._reservation = PortReservation(2)
        dispatch, probe = self._reservation.ports
        self.url = f"http://127.0.0.1:{probe}"
        told = entrance.name or entrance.host if entrance else ""
        self.dispatcher = f"https://{told}:{dispatch}" if entrance else f"http://127.0.0.1:{dispatch}"
        self.folder = folder
        command = [str(Path(sys.executable).with_name("mahavishnu")), "operator"]
        command += ["--kubeconfig", str(account.kubeconfig), "--data", str(folder / "data")]
        command += ["--dispatch-port", str(dispatch), "--probe-port", str(probe)]
        command += [part for name in namespaces for part in ("--namespace", name)]
        if root is not None:
            command += ["--enable-local-process", "--path-root", str(root)]
        if entrance is not None:
            proof = entrance.certificate
            command += ["--dispatch-host", entrance.host, "--dispatcher-ca", str(entrance.authority)]
            command += ["--dispatch-cert", str(proof.certificate), "--dispatch-key", str(proof.key)]
        command += more
        if worker_image:
            command += ["--worker-image", worker_image, "--dispatcher-url", self.dispatcher]
        program = Program("mahavishnu operator", tuple(command), self._not_ready)
        self.process = (_Forked if forked else ServerProcess)(program, folder / "operator.log")

    def __enter__(self) -> OperatorProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start it and wait until it is healthy."""
        self.process.start()
        try:
            self.process.wait_ready()
        except BaseException:
            self.process.kill()
            raise

    def close(self) -> None:
        """Kill what is left of it."""
        self.process.kill()
        self._reservation.release()

    def get(self, path: str) -> bytes:
        """What it answers on the port of its probes. HTTPError."""
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            body: bytes = answer.read()
        return body

    def output(self, job: Obj, task: str = "t0") -> str:
        """What a task of a job printed."""
        return self.get(f"/results/v1/jobs/{job['metadata']['uid']}/tasks/{task}/output").decode()

    async def until_unhealthy(self, words: str) -> None:
        """Return once it says on /healthz that it cannot work, in these words."""
        said: list[str | None] = []

        def says() -> bool:
            said.append(self._not_ready())
            return words in (said[-1] or "")

        try:
            await poll(says)
        except TimeoutError:
            raise AssertionError(f"it never said {words!r}, but {said[-1]!r}\n{self.process.log_tail()}") from None

    def _not_ready(self) -> str | None:
        try:
            self.get("/healthz")
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except OSError as error:
            return str(error)
        return None


@dataclass
class Site:
    """A namespace of the API server, as the administrator. Waiting is by a watch, with a deadline."""

    cluster: Cluster
    resources: KubernetesResources
    namespace: str
    deadline: float = DEADLINE

    def key(self, name: str) -> Key:
        return Key(self.namespace, name)

    def kubectl(self, *arguments: str, **options: Any) -> str:
        return self.cluster.kubectl("--namespace", self.namespace, *arguments, **options).stdout

    async def pool(self, name: str = POOL, **spec: Any) -> Obj:
        """A WorkerPool of one local worker that runs any command."""
        defaults = {"backend": "local-process", "allowedCommands": ["any"], "drain": {"graceSeconds": 0}}
        return await self._create(WORKER_POOL, name, defaults | spec)

    async def commands(self, name: str, *argvs: list[str], **spec: Any) -> Obj:
        tasks = [{"id": f"t{number}", "command": argv} for number, argv in enumerate(argvs)]
        return await self._create(SCAN_JOB, name, {"poolRef": {"name": POOL}, "tasks": tasks} | spec)

    async def scan(self, name: str, path: Path, *tools: str, **spec: Any) -> Obj:
        fields = {"poolRef": {"name": POOL}, "source": {"path": str(path)}, "scan": {"tools": list(tools)}}
        return await self._create(SCAN_JOB, name, fields | spec)

    async def job(self, name: str) -> Obj:
        return await self.resources.get(SCAN_JOB, self.key(name))

    async def _create(self, kind: Kind, name: str, spec: dict[str, Any]) -> Obj:
        metadata = {"name": name, "namespace": self.namespace}
        obj = {"apiVersion": "mahavishnu.dev/v1alpha1", "kind": kind.kind, "metadata": metadata, "spec": spec}
        return await self.resources.create(kind, obj)

    async def until(self, kind: Kind, name: str, what: Callable[[dict[str, Any]], bool]) -> Obj:
        """The object once `what` is true of its status."""
        obj = await self.resources.get(kind, self.key(name))
        try:
            async with asyncio.timeout(self.deadline):
                if what(obj.get("status") or {}):
                    return obj
                since = obj["metadata"]["resourceVersion"]
                async with self.watch(kind, since) as events:
                    async for event in events:
                        if event.object["metadata"].get("name") == name:
                            assert event.type is not EventType.DELETED, f"{name} was deleted: {obj.get('status')}"
                            obj = event.object
                            if what(obj.get("status") or {}):
                                return obj
        except TimeoutError:
            raise AssertionError(f"{name} never came to be as expected; it is {obj.get('status')}") from None
        raise AssertionError(f"the watch ended; {name} is {obj.get('status')}")

    async def ended(self, name: str) -> dict[str, Any]:
        """The status of a job at its end."""
        obj = await self.until(SCAN_JOB, name, lambda s: s.get("phase") in {"Succeeded", "Failed", "Cancelled"})
        status: dict[str, Any] = obj["status"]
        return status

    async def ready(self, workers: int, name: str = POOL) -> Obj:
        """The pool once it has just so many workers, all of them ready."""
        return await self.until(
            WORKER_POOL,
            name,
            lambda s: (s.get("ready"), s.get("replicas"), s.get("draining")) == (workers, workers, 0),
        )

    async def until_gone(self, kind: Kind, obj: Obj) -> None:
        """Return once that very object is deleted."""
        since = obj["metadata"]["resourceVersion"]
        async with asyncio.timeout(self.deadline), self.watch(kind, since) as events:
            async for event in events:
                if event.type is EventType.DELETED and event.object["metadata"]["uid"] == obj["metadata"]["uid"]:
                    return
        raise AssertionError(f"the watch ended before {Key.of(obj)} was deleted")

    def watch(self, kind: Kind, since: str) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent]]:
        """A watch that is closed when the block is left, whatever is still to come."""
        stream = self.resources.watch(kind, namespace=self.namespace, since=since)
        assert isinstance(stream, AsyncGenerator)
        return aclosing(stream)

    async def versions(self, kind: Kind, obj: Obj, *, until: Callable[[dict[str, Any]], bool]) -> list[str]:
        """The resourceVersion of each write to an object since it was made, up to the one that `until` is true of."""
        seen: list[str] = []
        since = obj["metadata"]["resourceVersion"]
        async with asyncio.timeout(self.deadline), self.watch(kind, since) as events:
            async for event in events:
                if event.object["metadata"].get("name") == obj["metadata"]["name"]:
                    seen.append(event.object["metadata"]["resourceVersion"])
                    if until(event.object.get("status") or {}):
                        return seen
        raise AssertionError("the watch ended")

    async def written_within(self, seconds: float, kind: Kind) -> list[str]:
        """The names of the objects that are written to from now on, in that time."""
        since = (await self.resources.list(kind, namespace=self.namespace)).resource_version
        seen: list[str] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self.watch(kind, since) as events:
                async for event in events:
                    if event.type is not EventType.BOOKMARK:
                        seen.append(event.object["metadata"]["name"])
        return seen

    async def until_event(self, obj: Obj, type_: str, reason: str) -> None:
        """Return once there is such an Event on the object: events are written after the status."""
        seen: list[tuple[str, str]] = []
        try:
            async with asyncio.timeout(self.deadline):
                while (type_, reason) not in seen:
                    seen = [(event["type"], event["reason"]) for event in await self.resources.events(obj)]
                    await asyncio.sleep(0.1)  # each look is a call to the API server
        except TimeoutError:
            raise AssertionError(f"no event {reason} came, but {seen}") from None


def condition(status: dict[str, Any], type_: str) -> tuple[str, str]:
    """Status and reason of a condition."""
    return next(((c["status"], c["reason"]) for c in status.get("conditions", []) if c["type"] == type_), ("", ""))


def message(status: dict[str, Any], type_: str) -> str:
    return next((str(c["message"]) for c in status.get("conditions", []) if c["type"] == type_), "")


def counts(status: dict[str, Any]) -> dict[str, int]:
    """The counts of a status that are not zero."""
    return {name: count for name, count in (status.get("tasks") or {}).items() if count}


async def written(path: Path) -> str:
    """What a task wrote, once it did."""
    await poll(lambda: path.exists() and path.read_text() != "")
    return path.read_text()


async def poll(true: Callable[[], bool], seconds: float = DEADLINE) -> None:
    """Wait for the file system or the process table to change, which nobody tells about."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 -- nothing to await
            await asyncio.sleep(0.02)


def deploy(cluster: Cluster) -> None:
    """Install the kinds, and the operator's account with its rights and their limits, as the manifests say."""
    cluster.install_kinds(CRDS)
    names = ("namespace", "serviceaccount", "rbac", "confinement")
    cluster.kubectl("apply", *(f"--filename={DEPLOY / name}.yaml" for name in names))


def account(cluster: Cluster) -> Cluster:
    """The cluster as the operator's service account sees it."""
    return cluster.as_service_account(namespace=SYSTEM, name=ACCOUNT)


def parse(text: bytes) -> Any:
    return json.loads(text)
