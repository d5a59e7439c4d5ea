"""Worker Pods as an administrator sees them; and what a kubelet does with them, where there is no node.

The Pods are made by the operator on a real API server. Without a node, a test starts the two programs of a Pod as
processes here, with a token that the API server bound to that very Pod, and writes the Pod's status as a kubelet would.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from mahavishnu_operator.backends.kubernetes.settings import AUDIENCE, POD
from mahavishnu_operator.resources.protocol import EventType, Key, Obj

from .operator_tools import Site

IMAGE = "worker.invalid/mahavishnu:tests"
CLI = (sys.executable, "-m", "mahavishnu_operator.cli")


class WorkerPods:
    """The worker Pods of one namespace."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def pods(self, number: int, *, where: Callable[[Obj], bool] = lambda _: True) -> list[Obj]:
        """The worker Pods, once there are just so many that are not being deleted."""
        found: list[Obj] = []
        try:
            async with asyncio.timeout(self._site.deadline):
                while True:
                    listing = await self._site.resources.list(POD, namespace=self._site.namespace)
                    found = [p for p in listing.items if "deletionTimestamp" not in p["metadata"] and where(p)]
                    if len(found) == number:
                        return found
                    await asyncio.sleep(0.05)  # each look is a call to the API server
        except TimeoutError:
            names = [pod["metadata"]["name"] for pod in found]
            raise AssertionError(f"there never were {number} Pods, but {names}") from None

    async def version(self) -> str:
        """The resourceVersion of the list of them now."""
        return (await self._site.resources.list(POD, namespace=self._site.namespace)).resource_version

    async def made_since(self, version: str, *, seconds: float = 0.0) -> int:
        """How many Pods were made since then, until so many seconds from now."""
        listing = await self._site.resources.list(POD, namespace=self._site.namespace)
        there, made = {pod["metadata"]["uid"] for pod in listing.items}, set[str]()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds or self._site.deadline), self._site.watch(POD, version) as events:
                while seconds or not there <= made:
                    event = await anext(events)
                    if event.type is EventType.ADDED:
                        made.add(event.object["metadata"]["uid"])
        assert there <= made, "the watch did not tell of all Pods that are there"
        return len(made)

    def token(self, pod: Obj, *, audience: str = AUDIENCE) -> str:
        """A token bound to that Pod."""
        meta = pod["metadata"]
        return self._site.kubectl(
            *("create", "token", "default", "--bound-object-kind", "Pod", "--audience", audience),
            *("--bound-object-name", meta["name"], "--bound-object-uid", meta["uid"]),
        ).strip()

    async def forge(self, pod: Obj, *, name: str) -> Obj:
        """A Pod like this one, in all but that nobody owns it."""
        meta = {"name": name, "namespace": self._site.namespace, "labels": pod["metadata"]["labels"]}
        spec = json.loads(json.dumps(pod["spec"]).replace(pod["metadata"]["name"], name))
        for field in ("priority", "preemptionPolicy", "tolerations", "serviceAccount", "nodeName"):
            spec.pop(field, None)
        return await self._site.resources.create(
            POD, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
        )

    def evict(self, pod: Obj) -> str:
        """Ask for an eviction, as `kubectl drain` does: empty, or why not."""
        meta = {"name": pod["metadata"]["name"], "namespace": self._site.namespace}
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta}
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/eviction"
        asked = self._site.cluster.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(body), check=False)
        return asked.stderr


class Kubelet(WorkerPods):
    """Runs Pods of one namespace."""

    def __init__(self, site: Site, folder: Path) -> None:
        super().__init__(site)
        self._folder = folder
        self.processes: dict[str, list[asyncio.subprocess.Process]] = {}

    async def run(self, pod: Obj, *, token: str | None = None) -> list[asyncio.subprocess.Process]:
        """Start a Pod's programs and report it running."""
        processes = await self.start(pod, token=token or self.token(pod))
        await self.report(pod, "Running", {"running": {}})
        return processes

    async def start(self, pod: Obj, *, token: str) -> list[asyncio.subprocess.Process]:
        """Start what the two containers of a Pod would run, with paths of this machine in place of the Pod's."""
        name = pod["metadata"]["name"]
        folder = self._folder / name
        folder.mkdir(parents=True)
        (folder / "token").write_text(token)
        places = {
            "/var/run/secrets/mahavishnu": str(folder),
            "/run/mahavishnu": str(folder),
            "/workspace": str(folder / "workspace"),
        }
        self.processes[name] = [
            await asyncio.create_subprocess_exec(
                *CLI, *_told(container, places), env=os.environ | self._variables(container)
            )
            for container in pod["spec"]["containers"]
        ]
        return self.processes[name]

    def _variables(self, container: Obj) -> dict[str, str]:
        """Those that the container names; values name no others."""
        found: dict[str, str] = {}
        for source in container.get("envFrom", ()):
            data = self._config_map(source["configMapRef"]["name"])
            found |= {f"{source['prefix']}{key}": value for key, value in data.items()}
        for each in container.get("env", ()):
            key = each.get("valueFrom", {}).get("configMapKeyRef")
            found[each["name"]] = (
                self._config_map(key["name"])[key["key"]] if key else each.get("value", "").replace("$$", "$")
            )
        return found

    def _config_map(self, name: str) -> dict[str, str]:
        data: dict[str, str] = json.loads(self._site.kubectl("get", "configmap", name, "-o", "json"))["data"]
        return data

    async def report(self, pod: Obj, phase: str, state: dict[str, Any]) -> None:
        """Write a Pod's status: its phase, and one state for its containers."""
        containers = [
            {"name": c["name"], "image": c["image"], "imageID": "", "ready": True, "restartCount": 0, "state": state}
            for c in pod["spec"]["containers"]
        ]
        ready = {"type": "Ready", "status": "True" if phase == "Running" else "False"}
        status = {"phase": phase, "containerStatuses": containers, "conditions": [ready]}
        key = Key.of(pod)
        self._site.kubectl(
            *("patch", "pod", key.name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
        )

    def bind(self, pod: Obj, *, node: str) -> None:
        """Make a node that is ready, and put a Pod on it, as a scheduler does."""
        make = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}, "spec": {"unschedulable": True}}
        self._site.cluster.kubectl("create", "-f", "-", input=json.dumps(make))
        meta = {"name": pod["metadata"]["name"], "namespace": self._site.namespace}
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": meta, "target": target}
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/binding"
        self._site.cluster.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(binding))

    async def close(self) -> None:
        for process in [process for pair in self.processes.values() for process in pair]:
            if process.returncode is None:
                process.kill()
            await process.wait()


@asynccontextmanager
async def running_kubelet(site: Site, folder: Path) -> AsyncIterator[Kubelet]:
    kubelet = Kubelet(site, folder)
    try:
        yield kubelet
    finally:
        await kubelet.close()


def _told(container: Obj, places: dict[str, str]) -> list[str]:
    """The arguments of a container's program, with other paths.

    Without confinement: a tool of these tests leaves what they look for beside its own folder.
    """
    program, line = container["args"]
    config = json.loads(line) | ({"confine": []} if program == "pod-runner" else {})
    return [program, json.dumps({name: _moved(value, places) for name, value in config.items()})]


def _moved(value: Any, places: dict[str, str]) -> Any:
    for there, here in places.items():
        if isinstance(value, str) and (value == there or value.startswith(f"{there}/")):
            return here + value[len(there) :]
    return value
