"""What every implementation of resources.protocol.Resources must do: one suite, run on each of them.

A subclass in a test module brings the fixtures `resources` and `namespace` (one that nobody else uses).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import pytest

from mahavishnu_operator.resources.cache import Reflector
from mahavishnu_operator.resources.protocol import (
    SCAN_JOB,
    WORKER_POOL,
    EventType,
    Key,
    Kind,
    Obj,
    Resources,
    WatchEvent,
)
from mahavishnu_operator.support.errors import Conflict, InvalidInput, NotFound

DEADLINE = 60.0  # a garbage collector looks for new kinds each 30 s


class ResourcesWithEvents(Resources, Protocol):
    async def events(self, obj: Obj) -> Sequence[Obj]: ...


def pool(namespace: str, name: str = "p", *, labels: dict[str, str] | None = None, **spec: Any) -> Obj:
    meta: Obj = {"name": name, "namespace": namespace, **({"labels": labels} if labels else {})}
    return {
        "apiVersion": "mahavishnu.dev/v1alpha1",
        "kind": "WorkerPool",
        "metadata": meta,
        "spec": {"backend": "local-process", **spec},
    }


def job(namespace: str, name: str = "j", **spec: Any) -> Obj:
    tasks = [{"id": "a", "command": ["true"]}]
    return {
        "apiVersion": "mahavishnu.dev/v1alpha1",
        "kind": "ScanJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"poolRef": {"name": "p"}, "tasks": tasks, **spec},
    }


@asynccontextmanager
async def watching(resources: Resources, kind: Kind, namespace: str, since: str) -> AsyncIterator[Watcher]:
    watcher = Watcher(resources.watch(kind, namespace=namespace, since=since))
    try:
        yield watcher
    finally:
        await watcher.close()


class Watcher:
    def __init__(self, stream: AsyncIterator[WatchEvent]) -> None:
        self._stream = stream

    async def change(self) -> WatchEvent:
        """The next event that is no bookmark."""
        async with asyncio.timeout(DEADLINE):
            while True:
                event = await anext(self._stream)
                if event.type is not EventType.BOOKMARK:
                    return event

    async def close(self) -> None:
        await self._stream.aclose()  # type: ignore[attr-defined]


class ResourcesConformance:
    async def test_a_created_object_gets_identity_and_defaults(self, resources: Resources, namespace: str) -> None:
        obj = await resources.create(WORKER_POOL, pool(namespace))
        meta = obj["metadata"]
        assert meta["uid"]
        assert meta["resourceVersion"]
        assert meta["generation"] == 1
        assert meta["creationTimestamp"].endswith("Z")
        assert obj["spec"]["maxWorkers"] == 10
        assert await resources.get(WORKER_POOL, Key(namespace, "p")) == obj

    async def test_a_name_can_be_taken_once(self, resources: Resources, namespace: str) -> None:
        await resources.create(WORKER_POOL, pool(namespace))
        with pytest.raises(Conflict) as refusal:
            await resources.create(WORKER_POOL, pool(namespace))
        assert refusal.value.reason == "AlreadyExists"

    async def test_names_can_be_generated(self, resources: Resources, namespace: str) -> None:
        manifest = pool(namespace)
        manifest["metadata"] = {"generateName": "scan-", "namespace": namespace}
        names = {(await resources.create(WORKER_POOL, manifest))["metadata"]["name"] for _ in range(3)}
        assert len(names) == 3
        assert all(name.startswith("scan-") for name in names)

    async def test_half_a_character_keeps_no_object_from_being_written(
        self, resources: Resources, namespace: str
    ) -> None:
        manifest = pool(namespace)
        manifest["metadata"]["annotations"] = {"file": "caf\udce9"}
        await resources.create(WORKER_POOL, manifest)
        stored = await resources.get(WORKER_POOL, Key(namespace, "p"))
        assert stored["metadata"]["annotations"]["file"] in ("caf\udce9", "caf\ufffd")  # over HTTP it is replaced

    async def test_what_is_not_there_is_not_found(self, resources: Resources, namespace: str) -> None:
        key = Key(namespace, "nobody")
        for call in (
            resources.get(WORKER_POOL, key),
            resources.merge(WORKER_POOL, key, {"spec": {"suspend": True}}),
            resources.merge_status(WORKER_POOL, key, {"ready": 1}),
            resources.scale(WORKER_POOL, key, 1),
            resources.delete(WORKER_POOL, key),
        ):
            with pytest.raises(NotFound, match="nobody"):
                await call

    async def test_a_list_is_of_one_kind_namespace_and_selection(self, resources: Resources, namespace: str) -> None:
        await resources.create(WORKER_POOL, pool(namespace, "a", labels={"tier": "fast"}))
        await resources.create(WORKER_POOL, pool(namespace, "b"))
        await resources.create(SCAN_JOB, job(namespace))
        names = [o["metadata"]["name"] for o in (await resources.list(WORKER_POOL, namespace=namespace)).items]
        assert names == ["a", "b"]
        chosen = await resources.list(WORKER_POOL, namespace=namespace, label_selector="tier in (fast)")
        assert [o["metadata"]["name"] for o in chosen.items] == ["a"]
        everywhere = await resources.list(SCAN_JOB)
        assert (namespace, "j") in [(o["metadata"]["namespace"], o["metadata"]["name"]) for o in everywhere.items]
        assert all(o["kind"] == "ScanJob" and o["apiVersion"] for o in everywhere.items)
        assert (await resources.list(WORKER_POOL, namespace=f"{namespace}-x")).items == ()

    async def test_a_merge_changes_the_spec_and_counts_a_generation(self, resources: Resources, namespace: str) -> None:
        await resources.create(WORKER_POOL, pool(namespace, maxWorkers=3))
        obj = await resources.merge(WORKER_POOL, Key(namespace, "p"), {"spec": {"maxWorkers": 4, "workerClass": "x"}})
        assert (obj["spec"]["maxWorkers"], obj["metadata"]["generation"]) == (4, 2)
        obj = await resources.merge(WORKER_POOL, Key(namespace, "p"), {"spec": {"workerClass": None}})
        assert "workerClass" not in obj["spec"]

    async def test_metadata_alone_is_no_new_generation(self, resources: Resources, namespace: str) -> None:
        before = await resources.create(WORKER_POOL, pool(namespace))
        obj = await resources.merge(WORKER_POOL, Key(namespace, "p"), {"metadata": {"labels": {"a": "b"}}})
        assert obj["metadata"]["labels"] == {"a": "b"}
        assert obj["metadata"]["generation"] == 1
        assert obj["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]

    async def test_a_write_that_changes_nothing_is_no_write(self, resources: Resources, namespace: str) -> None:
        await resources.create(WORKER_POOL, pool(namespace, maxWorkers=2))
        # A real API server stores the defaults of status with the first change.
        before = await resources.merge(WORKER_POOL, Key(namespace, "p"), {"spec": {"maxWorkers": 3}})
        after = await resources.merge(WORKER_POOL, Key(namespace, "p"), {"spec": {"maxWorkers": 3}})
        assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]

    async def test_a_stale_version_is_a_conflict(self, resources: Resources, namespace: str) -> None:
        key = Key(namespace, "p")
        old = await resources.create(WORKER_POOL, pool(namespace))
        await resources.merge(WORKER_POOL, key, {"spec": {"maxWorkers": 4}})
        guard = {"resourceVersion": old["metadata"]["resourceVersion"]}
        with pytest.raises(Conflict):
            await resources.merge(WORKER_POOL, key, {"metadata": guard, "spec": {"maxWorkers": 5}})
        assert (await resources.get(WORKER_POOL, key))["spec"]["maxWorkers"] == 4

    async def test_spec_and_status_do_not_touch_each_other(self, resources: Resources, namespace: str) -> None:
        key = Key(namespace, "p")
        await resources.create(WORKER_POOL, {**pool(namespace), "status": {"ready": 7}})
        obj = await resources.get(WORKER_POOL, key)
        assert obj.get("status", {}).get("ready", 0) == 0
        obj = await resources.merge_status(WORKER_POOL, key, {"ready": 2})
        assert (obj["status"]["ready"], obj["metadata"]["generation"]) == (2, 1)
        obj = await resources.merge(WORKER_POOL, key, {"spec": {"maxWorkers": 4}, "status": {"ready": 9}})
        assert (obj["status"]["ready"], obj["spec"]["maxWorkers"]) == (2, 4)

    async def test_a_status_patch_merges(self, resources: Resources, namespace: str) -> None:
        key = Key(namespace, "p")
        await resources.create(WORKER_POOL, pool(namespace))
        await resources.merge_status(WORKER_POOL, key, {"ready": 2, "idleSince": "2026-01-01T00:00:00Z"})
        obj = await resources.merge_status(WORKER_POOL, key, {"busy": 1, "idleSince": None})
        assert (obj["status"]["ready"], obj["status"]["busy"]) == (2, 1)
        assert "idleSince" not in obj["status"]

    async def test_unknown_fields_are_refused_by_name(self, resources: Resources, namespace: str) -> None:
        with pytest.raises(InvalidInput, match="wokers"):
            await resources.create(WORKER_POOL, pool(namespace, wokers=3))
        with pytest.raises(InvalidInput, match="wokers"):
            await resources.apply(WORKER_POOL, pool(namespace, wokers=3), field_manager="me")
        await resources.create(WORKER_POOL, pool(namespace))
        with pytest.raises(InvalidInput, match="wokers"):
            await resources.merge(WORKER_POOL, Key(namespace, "p"), {"spec": {"wokers": 3}})

    async def test_values_out_of_bounds_are_refused_by_field(self, resources: Resources, namespace: str) -> None:
        with pytest.raises(InvalidInput, match="maxWorkers"):
            await resources.create(WORKER_POOL, pool(namespace, maxWorkers=100_000))
        with pytest.raises(InvalidInput, match="backend"):
            await resources.create(WORKER_POOL, pool(namespace, backend="abacus"))

    async def test_a_rule_over_two_fields_holds(self, resources: Resources, namespace: str) -> None:
        with pytest.raises(InvalidInput, match="minWorkers"):
            await resources.create(WORKER_POOL, pool(namespace, minWorkers=5, maxWorkers=2))

    async def test_a_label_must_be_one(self, resources: Resources, namespace: str) -> None:
        with pytest.raises(InvalidInput, match="label"):
            await resources.create(WORKER_POOL, pool(namespace, labels={"a": "not a label"}))

    async def test_a_dry_run_answers_and_stores_nothing(self, resources: Resources, namespace: str) -> None:
        assert (await resources.create(WORKER_POOL, pool(namespace), dry_run=True))["spec"]["maxWorkers"] == 10
        applied = await resources.apply(WORKER_POOL, pool(namespace), field_manager="me", dry_run=True)
        assert applied["metadata"]["name"] == "p"
        assert (await resources.list(WORKER_POOL, namespace=namespace)).items == ()

    async def test_apply_creates_then_changes_then_removes(self, resources: Resources, namespace: str) -> None:
        manifest = pool(namespace, maxWorkers=3, workerClass="x")
        await resources.apply(WORKER_POOL, manifest, field_manager="me")
        first = await resources.apply(WORKER_POOL, manifest, field_manager="me")
        same = await resources.apply(WORKER_POOL, manifest, field_manager="me")
        assert same["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        changed = await resources.apply(WORKER_POOL, pool(namespace, maxWorkers=4), field_manager="me")
        assert changed["spec"]["maxWorkers"] == 4
        assert "workerClass" not in changed["spec"]
        assert changed["metadata"]["generation"] == 2

    async def test_apply_does_not_overwrite_what_another_manages(self, resources: Resources, namespace: str) -> None:
        await resources.apply(WORKER_POOL, pool(namespace, maxWorkers=3), field_manager="gitops")
        with pytest.raises(Conflict, match=r'conflict with "gitops".*maxWorkers'):
            await resources.apply(WORKER_POOL, pool(namespace, maxWorkers=4), field_manager="me")
        obj = await resources.apply(WORKER_POOL, pool(namespace, maxWorkers=4), field_manager="me", force=True)
        assert obj["spec"]["maxWorkers"] == 4

    async def test_apply_leaves_a_scaled_number_alone_when_it_names_none(
        self, resources: Resources, namespace: str
    ) -> None:
        await resources.apply(WORKER_POOL, pool(namespace), field_manager="gitops")
        await resources.scale(WORKER_POOL, Key(namespace, "p"), 5)
        obj = await resources.apply(WORKER_POOL, pool(namespace, maxWorkers=8), field_manager="gitops")
        assert (obj["spec"]["replicas"], obj["spec"]["maxWorkers"]) == (5, 8)

    async def test_tasks_are_applied_by_their_ids(self, resources: Resources, namespace: str) -> None:
        one = job(namespace, tasks=[{"id": "a", "command": ["true"]}, {"id": "b", "command": ["true"]}])
        await resources.apply(SCAN_JOB, one, field_manager="me")
        fewer = job(namespace, tasks=[{"id": "b", "command": ["true"]}])
        obj = await resources.apply(SCAN_JOB, fewer, field_manager="me")
        assert [task["id"] for task in obj["spec"]["tasks"]] == ["b"]

    async def test_status_in_an_applied_object_changes_nothing(self, resources: Resources, namespace: str) -> None:
        obj = await resources.apply(WORKER_POOL, {**pool(namespace), "status": {"ready": 5}}, field_manager="me")
        assert obj.get("status", {}).get("ready", 0) == 0

    async def test_scale_writes_replicas(self, resources: Resources, namespace: str) -> None:
        await resources.create(WORKER_POOL, pool(namespace))
        await resources.scale(WORKER_POOL, Key(namespace, "p"), 4)
        assert (await resources.get(WORKER_POOL, Key(namespace, "p")))["spec"]["replicas"] == 4

    async def test_a_delete_with_uid_hits_that_very_object(self, resources: Resources, namespace: str) -> None:
        key = Key(namespace, "p")
        old = await resources.create(WORKER_POOL, pool(namespace))
        await resources.delete(WORKER_POOL, key, uid=old["metadata"]["uid"])
        await resources.create(WORKER_POOL, pool(namespace))
        with pytest.raises(NotFound):
            await resources.delete(WORKER_POOL, key, uid=old["metadata"]["uid"])
        await resources.delete(WORKER_POOL, key)
        with pytest.raises(NotFound):
            await resources.get(WORKER_POOL, key)

    async def test_dependents_go_with_their_owner(self, resources: Resources, namespace: str) -> None:
        owner = await resources.create(WORKER_POOL, pool(namespace))
        child = job(namespace)
        reference = {"apiVersion": owner["apiVersion"], "kind": "WorkerPool", "name": "p"}
        child["metadata"]["ownerReferences"] = [{**reference, "uid": owner["metadata"]["uid"]}]
        made = await resources.create(SCAN_JOB, child)
        async with watching(resources, SCAN_JOB, namespace, made["metadata"]["resourceVersion"]) as watcher:
            await resources.delete(WORKER_POOL, Key(namespace, "p"))
            event = await watcher.change()
        assert (event.type, event.object["metadata"]["name"]) == (EventType.DELETED, "j")

    async def test_a_finalizer_keeps_the_object_until_it_is_taken_off(
        self, resources: Resources, namespace: str
    ) -> None:
        key, manifest = Key(namespace, "p"), pool(namespace)
        manifest["metadata"]["finalizers"] = ["example.com/wait"]
        await resources.create(WORKER_POOL, manifest)
        await resources.delete(WORKER_POOL, key)
        assert (await resources.get(WORKER_POOL, key))["metadata"]["deletionTimestamp"]
        await resources.merge(WORKER_POOL, key, {"metadata": {"finalizers": None}})
        with pytest.raises(NotFound):
            await resources.get(WORKER_POOL, key)

    async def test_a_watch_tells_every_change_in_order(self, resources: Resources, namespace: str) -> None:
        since = (await resources.list(WORKER_POOL, namespace=namespace)).resource_version
        key = Key(namespace, "p")
        async with watching(resources, WORKER_POOL, namespace, since) as watcher:
            made = await resources.create(WORKER_POOL, pool(namespace))
            await resources.create(SCAN_JOB, job(namespace))
            await resources.merge(WORKER_POOL, key, {"spec": {"maxWorkers": 4}})
            await resources.merge_status(WORKER_POOL, key, {"ready": 1})
            await resources.delete(WORKER_POOL, key)
            events = [await watcher.change() for _ in range(4)]
        assert [e.type for e in events] == ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]
        assert {e.object["metadata"]["uid"] for e in events} == {made["metadata"]["uid"]}
        assert [e.object["spec"]["maxWorkers"] for e in events] == [10, 4, 4, 4]
        assert len({e.object["metadata"]["resourceVersion"] for e in events}) == 4

    async def test_a_watch_tells_what_happened_before_it_began(self, resources: Resources, namespace: str) -> None:
        since = (await resources.list(WORKER_POOL, namespace=namespace)).resource_version
        await resources.create(WORKER_POOL, pool(namespace))
        await resources.delete(WORKER_POOL, Key(namespace, "p"))
        async with watching(resources, WORKER_POOL, namespace, since) as watcher:
            assert [(await watcher.change()).type for _ in range(2)] == ["ADDED", "DELETED"]

    async def test_a_watch_is_of_one_namespace(self, resources: Resources, namespace: str) -> None:
        since = (await resources.list(WORKER_POOL)).resource_version
        await resources.create(WORKER_POOL, pool("default", f"other-{namespace}"))
        await resources.create(WORKER_POOL, pool(namespace))
        await resources.delete(WORKER_POOL, Key("default", f"other-{namespace}"))
        async with watching(resources, WORKER_POOL, namespace, since) as watcher:
            assert (await watcher.change()).object["metadata"]["namespace"] == namespace

    async def test_an_event_is_counted_when_it_repeats(self, resources: ResourcesWithEvents, namespace: str) -> None:
        obj = await resources.create(WORKER_POOL, pool(namespace))
        for _ in range(3):
            await resources.record_event(obj, reason="Scaled", message="from 1 to 2")
        await resources.record_event(obj, reason="WorkerFailed", message="exit code 3", type_="Warning")
        found = {e["reason"]: e for e in await resources.events(obj)}
        assert {reason: e["count"] for reason, e in found.items()} == {"Scaled": 3, "WorkerFailed": 1}
        assert found["WorkerFailed"]["type"] == "Warning"
        assert found["Scaled"]["involvedObject"]["uid"] == obj["metadata"]["uid"]

    async def test_an_object_at_its_size_limit_can_still_be_written(self, resources: Resources, namespace: str) -> None:
        manifest = job(namespace)
        manifest["metadata"]["annotations"] = {"example.com/note": "x" * 250_000}
        assert len(json.dumps(manifest)) < 256 * 1024
        await resources.create(SCAN_JOB, manifest)
        obj = await resources.merge_status(SCAN_JOB, Key(namespace, "j"), {"phase": "Running"})
        assert obj["status"]["phase"] == "Running"

    async def test_a_reflector_follows_and_finds_what_it_missed(self, resources: Resources, namespace: str) -> None:
        await resources.create(WORKER_POOL, pool(namespace, "before"))
        changes: asyncio.Queue[Key] = asyncio.Queue()
        reflector = Reflector(resources, WORKER_POOL, namespace=namespace, on_change=changes.put_nowait)
        running = asyncio.create_task(reflector.run())
        try:
            async with asyncio.timeout(DEADLINE):
                assert await changes.get() == Key(namespace, "before")
                await resources.create(WORKER_POOL, pool(namespace, "after"))
                assert await changes.get() == Key(namespace, "after")
                await resources.delete(WORKER_POOL, Key(namespace, "before"))
                assert await changes.get() == Key(namespace, "before")
        finally:
            running.cancel()
        assert list(reflector.store) == [Key(namespace, "after")]
        await resources.delete(WORKER_POOL, Key(namespace, "after"))
        await reflector.resync()
        assert not reflector.store
