"""The workers of simulated Pods: a lease loop for each, all in this process, that speaks to the real dispatcher.

    python -m benchmarks.cluster.simulated_workers KUBECONFIG NAMESPACE DISPATCHER_URL

A simulated Pod runs nothing, so what its agent would do is done here, as the wire protocol has it: a token that the API
server binds to that very Pod, a registration, long polls for a lease, and the result. Only no-op tasks are answered.
Ends when its parent closes its standard input.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TypeVar

import aiohttp
import msgspec
import uvloop

from mahavishnu_operator.api.reasons import Label
from mahavishnu_operator.api.wire import (
    PROTOCOL,
    LeaseRequest,
    LeaseResponse,
    RegisterRequest,
    RegisterResponse,
    ResultsRequest,
    TaskResult,
)
from mahavishnu_operator.backends.kubernetes.settings import AUDIENCE, POD
from mahavishnu_operator.resources.cache import Reflector
from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from mahavishnu_operator.resources.protocol import Key, Obj
from mahavishnu_operator.resources.selection import Selection

TOKEN_SECONDS = 3600
REGISTERING = 32  # at once: each is a TokenRequest here and a TokenReview there
T = TypeVar("T")


class Fleet:
    """A worker for each Pod that runs."""

    def __init__(self, resources: KubernetesResources, http: aiohttp.ClientSession, namespace: str) -> None:
        self._resources, self._http, self._namespace = resources, http, namespace
        self._registering = asyncio.Semaphore(REGISTERING)
        self._workers: dict[str, asyncio.Task[None]] = {}
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Follow the Pods until cancelled."""
        workers = Selection(self._resources, f"{Label.COMPONENT}=worker")
        pods = Reflector(workers, POD, on_change=self._look, namespace=self._namespace)
        self._pods = pods.store
        await pods.run()

    def _look(self, key: Key) -> None:
        pod = self._pods.get(key)
        if pod is None or pod["metadata"].get("deletionTimestamp"):
            if (worker := self._workers.pop(key.name, None)) is not None:
                worker.cancel()
        elif (pod.get("status") or {}).get("phase") == "Running" and key.name not in self._workers:
            worker = self._workers[key.name] = asyncio.create_task(self._work(pod))
            worker.add_done_callback(self._ended)

    def _ended(self, worker: asyncio.Task[None]) -> None:
        if not worker.cancelled() and (error := worker.exception()) is not None and not self.failed.done():
            self.failed.set_exception(error)

    async def _work(self, pod: Obj) -> None:
        session = await self._register(pod)
        wait = session.poll_seconds
        while True:
            answer = await self._post("lease", LeaseRequest(max=1, wait_seconds=wait), session.session, LeaseResponse)
            if answer.drain and not answer.grants:
                return
            results = tuple(TaskResult(each.task, each.attempt, "succeeded", "Completed") for each in answer.grants)
            if results:
                await self._post("results", ResultsRequest(results), session.session, msgspec.Raw)

    async def _register(self, pod: Obj) -> RegisterResponse:
        meta = pod["metadata"]
        pool = Key(meta["namespace"], next(o["name"] for o in meta["ownerReferences"] if o.get("controller")))
        request = RegisterRequest(
            protocol=PROTOCOL,
            pool=str(pool),
            worker=meta["name"],
            incarnation=meta["uid"],
            slots=1,
            agent_version="simulated",
        )
        async with self._registering:
            return await self._post("register", request, await self._token(meta), RegisterResponse)

    async def _token(self, meta: Obj) -> str:
        bound = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
        spec = {"audiences": [AUDIENCE], "expirationSeconds": TOKEN_SECONDS, "boundObjectRef": bound}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        path = f"/api/v1/namespaces/{meta['namespace']}/serviceaccounts/default/token"
        token: str = (await self._resources.post_json(path, body))["status"]["token"]
        return token

    async def _post(self, call: str, request: object, bearer: str, answer: type[T]) -> T:
        headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
        async with self._http.post(f"/v1/{call}", data=msgspec.json.encode(request), headers=headers) as response:
            body = await response.read()
            if response.status != 200:
                raise RuntimeError(f"/v1/{call} was answered {response.status}: {body[:300]!r}")
            return msgspec.json.decode(body, type=answer)


async def run(kubeconfig: Path, namespace: str, dispatcher: str) -> None:
    """Be the fleet until standard input closes. Raises what a worker failed with."""
    resources = KubernetesResources(Connection.from_kubeconfig(kubeconfig))
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(dispatcher, connector=connector, timeout=timeout) as http:
        fleet = Fleet(resources, http, namespace)
        following = asyncio.create_task(fleet.run())
        closing = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
        done, _ = await asyncio.wait({following, closing, fleet.failed}, return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            each.result()
        following.cancel()
    await resources.close()


if __name__ == "__main__":
    uvloop.run(run(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
