"""The whole engine in the test's process, with real workers as its children."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mahavishnu_operator.control.embedded import EmbeddedEngine
from mahavishnu_operator.control.engine import EngineOptions
from mahavishnu_operator.resources.protocol import SCAN_JOB, WORKER_POOL, Key, Kind, Obj

POOL = Key("default", "pool")
JOB = Key("default", "job")
DEADLINE = 60.0


@asynccontextmanager
async def engine(folder: Path, **options: Any) -> AsyncIterator[EmbeddedEngine]:
    """An engine on that folder with the local-process backend, on a free port."""
    settings: dict[str, Any] = {"dispatch_port": 0, "enable_local_process": True, "path_roots": None}
    async with EmbeddedEngine(EngineOptions(data_dir=folder, **(settings | options))) as made:
        yield made


def pool(**spec: Any) -> Obj:
    return manifest("WorkerPool", POOL, {"backend": "local-process", "drain": {"graceSeconds": 0}} | spec)


def commands(*argvs: list[str], key: Key = JOB, **spec: Any) -> Obj:
    tasks = [{"id": f"t{number}", "command": argv} for number, argv in enumerate(argvs)]
    return manifest("ScanJob", key, {"poolRef": {"name": POOL.name}, "tasks": tasks} | spec)


def scan(path: Path, *tools: str, **spec: Any) -> Obj:
    fields = {"poolRef": {"name": POOL.name}, "source": {"path": str(path)}, "scan": {"tools": list(tools)}}
    return manifest("ScanJob", JOB, fields | spec)


def manifest(kind: str, key: Key, spec: dict[str, Any]) -> Obj:
    metadata = {"name": key.name, "namespace": key.namespace}
    return {"apiVersion": "mahavishnu.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


async def until(made: EmbeddedEngine, kind: Kind, key: Key, what: Callable[[Obj], bool]) -> Obj:
    """The object once `what` is true of it, by watching; says what it was when the deadline passes."""
    obj = await made.resources.get(kind, key)
    try:
        async with asyncio.timeout(DEADLINE):
            if what(obj):
                return obj
            since = obj["metadata"]["resourceVersion"]
            async for event in made.resources.watch(kind, namespace=key.namespace, since=since):
                if event.object["metadata"].get("name") == key.name:
                    obj = event.object
                    if what(obj):
                        return obj
    except TimeoutError:
        raise AssertionError(f"{key} never came to be as expected; it is {obj.get('status')}") from None
    raise AssertionError(f"the watch ended; {key} is {obj.get('status')}")


async def until_job(made: EmbeddedEngine, what: Callable[[dict[str, Any]], bool], key: Key = JOB) -> Obj:
    return await until(made, SCAN_JOB, key, lambda obj: what(obj.get("status") or {}))


async def until_pool(made: EmbeddedEngine, what: Callable[[dict[str, Any]], bool]) -> Obj:
    return await until(made, WORKER_POOL, POOL, lambda obj: what(obj.get("status") or {}))


async def ended(made: EmbeddedEngine, key: Key = JOB) -> dict[str, Any]:
    """The status of a job at its end."""
    async with asyncio.timeout(DEADLINE):
        status: dict[str, Any] = (await made.wait_terminal(key))["status"]
    return status


def condition(status: dict[str, Any], type_: str) -> tuple[str, str]:
    """Status and reason of a condition."""
    return next(((c["status"], c["reason"]) for c in status.get("conditions", []) if c["type"] == type_), ("", ""))


async def wait_for_file(path: Path) -> str:
    """What a task wrote, once it did."""
    await poll(lambda: path.exists() and path.read_text() != "")
    return path.read_text()


async def poll(true: Callable[[], bool]) -> None:
    """Wait for the file system or the process table to change, which nobody tells about."""
    async with asyncio.timeout(DEADLINE):
        while not true():  # noqa: ASYNC110 -- nothing to await
            await asyncio.sleep(0.02)
