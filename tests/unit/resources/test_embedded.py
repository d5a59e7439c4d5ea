"""The embedded implementation: the conformance suite, and what only a file in this process can show."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from mahavishnu_operator.resources.embedded import EmbeddedResources, tables, writes
from mahavishnu_operator.resources.embedded.writes import Options
from mahavishnu_operator.resources.protocol import SCAN_JOB, WORKER_POOL, EventType, Expired, Key, WatchEvent
from mahavishnu_operator.resources.selectors import parse_labels
from mahavishnu_operator.support.errors import Conflict, InvalidInput

from .conformance import DEADLINE, ResourcesConformance, job, pool, watching

KEY = Key("default", "p")


@pytest.fixture
async def resources(tmp_path: Path) -> AsyncIterator[EmbeddedResources]:
    embedded = EmbeddedResources(tmp_path / "objects.db")
    yield embedded
    await embedded.close()


@pytest.fixture
def namespace() -> str:
    return "team-a"


class TestEmbeddedResources(ResourcesConformance):
    pass


async def test_objects_and_history_survive_a_restart(tmp_path: Path) -> None:
    first = EmbeddedResources(tmp_path / "objects.db")
    since = (await first.list(WORKER_POOL)).resource_version
    made = await first.create(WORKER_POOL, pool("default"))
    await first.close()
    second = EmbeddedResources(tmp_path / "objects.db")
    assert await second.get(WORKER_POOL, KEY) == made
    async with watching(second, WORKER_POOL, "default", since) as watcher:
        assert (await watcher.change()).object == made
    await second.close()


async def test_a_second_process_is_told_who_holds_the_file(resources: EmbeddedResources, tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="in use by process"):
        EmbeddedResources(tmp_path / "objects.db")


async def test_a_version_beyond_the_history_is_expired(resources: EmbeddedResources) -> None:
    since = (await resources.list(WORKER_POOL)).resource_version
    await resources.create(WORKER_POOL, pool("default", "a"))
    await resources.create(WORKER_POOL, pool("default", "b"))
    await resources.write(partial(tables.prune_history, max_changes=1))
    with pytest.raises(Expired, match="too old"):
        await anext(resources.watch(WORKER_POOL, since=since))


async def test_a_version_of_another_store_is_expired(resources: EmbeddedResources) -> None:
    with pytest.raises(Expired):
        await anext(resources.watch(WORKER_POOL, since="999999"))


async def test_the_history_is_bounded(resources: EmbeddedResources, monkeypatch: pytest.MonkeyPatch) -> None:
    def many_changes(conn: sqlite3.Connection) -> int:
        for number in range(3):
            obj = pool("default", f"p{number}")
            obj["metadata"] |= {"uid": str(number), "resourceVersion": "0"}
            for _ in range(tables.PRUNE_EVERY):
                before = tables.find(conn, WORKER_POOL, Key.of(obj))
                tables.put(conn, WORKER_POOL, obj, before=before)
        tables.prune_history(conn, max_changes=10, max_bytes=10**9)
        tables.prune_history(conn, max_changes=10, max_bytes=1_000)
        return int(conn.execute("SELECT count(*) FROM changes").fetchone()[0])

    assert 0 < await resources.write(many_changes) < 10


async def test_the_bytes_of_the_history_are_counted(resources: EmbeddedResources) -> None:
    def counted(conn: sqlite3.Connection) -> bool:
        (real,) = conn.execute("SELECT sum(length(body)) FROM changes").fetchone()
        return bool(real and conn.execute("SELECT bytes FROM counter").fetchone() == (real,))

    for number in range(4):
        await resources.create(WORKER_POOL, pool("default", f"p{number}"))
    await resources.delete(WORKER_POOL, Key("default", "p0"))
    assert await resources.read(counted)
    await resources.write(partial(tables.prune_history, max_changes=3))
    assert await resources.read(counted)
    await resources.write(partial(tables.prune_history, max_bytes=4_000))
    assert await resources.read(counted)


async def test_a_file_of_the_version_before_is_counted_once(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "objects.db", isolation_level=None)
    old.executescript(tables.MIGRATIONS[0])
    old.execute("CREATE TABLE schema_migrations (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL)")
    old.execute("INSERT INTO schema_migrations VALUES (1, '')")
    old.execute("INSERT INTO changes VALUES (1, 'WorkerPool', 'default', 'ADDED', '{}', NULL)")
    old.close()
    resources = EmbeddedResources(tmp_path / "objects.db")
    assert await resources.read(lambda conn: conn.execute("SELECT * FROM counter").fetchone()) == (0, 1, 0, 2)
    await resources.close()


async def test_a_quiet_watch_proves_that_it_lives(tmp_path: Path) -> None:
    resources = EmbeddedResources(tmp_path / "objects.db", bookmark_seconds=0.05)
    since = (await resources.list(WORKER_POOL)).resource_version
    stream = resources.watch(WORKER_POOL, since=since)
    await resources.create(SCAN_JOB, job("default"))  # of another kind: no event, but a newer version
    async with asyncio.timeout(DEADLINE):
        event = await anext(stream)
    assert event.type is EventType.BOOKMARK
    assert int(event.object["metadata"]["resourceVersion"]) > int(since)
    await stream.aclose()
    await resources.close()


async def test_a_watch_ends_when_the_store_is_closed(tmp_path: Path) -> None:
    resources = EmbeddedResources(tmp_path / "objects.db")
    since = (await resources.list(WORKER_POOL)).resource_version

    async def follow() -> list[WatchEvent]:
        return [event async for event in resources.watch(WORKER_POOL, since=since)]

    following = asyncio.create_task(follow())
    await resources.create(WORKER_POOL, pool("default"))
    await resources.close()
    async with asyncio.timeout(DEADLINE):
        assert len(await following) <= 1


async def test_a_watch_through_a_selector_tells_what_enters_and_leaves(resources: EmbeddedResources) -> None:
    since = (await resources.list(WORKER_POOL)).resource_version
    await resources.create(WORKER_POOL, pool("default"))
    await resources.merge(WORKER_POOL, KEY, {"metadata": {"labels": {"tier": "fast"}}})
    await resources.merge(WORKER_POOL, KEY, {"spec": {"maxWorkers": 4}})
    await resources.merge(WORKER_POOL, KEY, {"metadata": {"labels": {"tier": "slow"}}})
    stream = resources.watch(WORKER_POOL, since=since, selector=parse_labels("tier=fast"), seconds=0.01)
    assert [event.type async for event in stream] == ["ADDED", "MODIFIED", "DELETED"]


async def test_an_object_that_is_too_large_is_refused_in_words(resources: EmbeddedResources) -> None:
    manifest = job("default", tasks=[{"id": f"t{n}", "command": ["true", "x" * 1000]} for n in range(300)])
    with pytest.raises(InvalidInput, match=r"bytes; at most 262144"):
        await resources.create(SCAN_JOB, manifest)


async def test_many_writers_get_versions_of_their_own(resources: EmbeddedResources) -> None:
    made = await asyncio.gather(*(resources.create(WORKER_POOL, pool("default", f"p{n}")) for n in range(50)))
    assert len({obj["metadata"]["resourceVersion"] for obj in made}) == 50


async def test_a_change_whose_caller_went_away_still_wakes_the_watches(resources: EmbeddedResources) -> None:
    since = (await resources.list(WORKER_POOL)).resource_version
    async with watching(resources, WORKER_POOL, "default", since) as watcher:
        next_change = asyncio.create_task(watcher.change())
        await asyncio.sleep(0)
        writing = asyncio.create_task(resources.create(WORKER_POOL, pool("default")))
        await asyncio.sleep(0)  # the write is handed in
        writing.cancel()
        assert (await next_change).type is EventType.ADDED


async def test_who_wrote_goes_on_before_those_who_watch(resources: EmbeddedResources) -> None:
    since = (await resources.create(WORKER_POOL, pool("default")))["metadata"]["resourceVersion"]
    order: list[str] = []
    async with watching(resources, WORKER_POOL, "default", since) as watcher:

        async def watch() -> None:
            await watcher.change()
            order.append("told")

        hearing = asyncio.create_task(watch())
        await asyncio.sleep(0)
        await resources.merge(WORKER_POOL, KEY, {"spec": {"maxWorkers": 4}})
        order.append("written")
        await hearing
    assert order == ["written", "told"]


async def test_events_are_bounded_and_go_with_their_object(resources: EmbeddedResources) -> None:
    obj = await resources.create(WORKER_POOL, pool("default"))
    for number in range(tables.EVENTS_PER_OBJECT + 5):
        await resources.record_event(obj, reason="Scaled", message=f"to {number}")
    kept = await resources.events(obj)
    assert len(kept) == tables.EVENTS_PER_OBJECT
    assert kept[-1]["message"] == f"to {tables.EVENTS_PER_OBJECT + 4}"
    await resources.delete(WORKER_POOL, KEY)
    assert await resources.events(obj) == []
    await resources.record_event(obj, reason="Scaled", message="late")
    assert await resources.events(obj) == []


async def test_an_orphaned_dependent_stays_without_its_owner(resources: EmbeddedResources) -> None:
    owner = await resources.create(WORKER_POOL, pool("default"))
    child = job("default")
    reference = {"apiVersion": owner["apiVersion"], "kind": "WorkerPool", "name": "p", "uid": owner["metadata"]["uid"]}
    child["metadata"]["ownerReferences"] = [reference]
    await resources.create(SCAN_JOB, child)
    await resources.commit(partial(writes.delete, kind=WORKER_POOL, key=KEY, orphan=True))
    assert "ownerReferences" not in (await resources.get(SCAN_JOB, Key("default", "j")))["metadata"]


async def test_a_dependent_of_two_owners_stays_until_both_are_gone(resources: EmbeddedResources) -> None:
    child = job("default")
    child["metadata"]["ownerReferences"] = []
    for name in ("a", "b"):
        owner = await resources.create(WORKER_POOL, pool("default", name))
        reference = {"apiVersion": owner["apiVersion"], "kind": "WorkerPool", "name": name}
        child["metadata"]["ownerReferences"].append({**reference, "uid": owner["metadata"]["uid"]})
    await resources.create(SCAN_JOB, child)
    await resources.delete(WORKER_POOL, Key("default", "a"))
    assert await resources.get(SCAN_JOB, Key("default", "j"))
    await resources.delete(WORKER_POOL, Key("default", "b"))
    assert (await resources.list(SCAN_JOB)).items == ()


async def test_without_strictness_unknown_fields_are_pruned_with_a_warning(resources: EmbeddedResources) -> None:
    script = partial(writes.create, kind=WORKER_POOL, obj=pool("default", wokers=1), options=Options(strict=False))
    done = await resources.commit(script)
    assert "wokers" not in done.object["spec"]
    assert any("wokers" in warning for warning in done.warnings)


async def test_an_update_must_not_rename(resources: EmbeddedResources) -> None:
    await resources.create(WORKER_POOL, pool("default"))
    with pytest.raises(InvalidInput, match="cannot be renamed"):
        await resources.merge(WORKER_POOL, KEY, {"metadata": {"name": "other"}})


async def test_who_wrote_what_is_in_managed_fields(resources: EmbeddedResources) -> None:
    await resources.apply(WORKER_POOL, pool("default", maxWorkers=3), field_manager="gitops")
    await resources.scale(WORKER_POOL, KEY, 2)
    entries = (await resources.get(WORKER_POOL, KEY))["metadata"]["managedFields"]
    assert {(e["manager"], e["operation"]): e["fieldsV1"] for e in entries} == {
        ("gitops", "Apply"): {"f:spec": {"f:backend": {}, "f:maxWorkers": {}}},
        ("mahavishnu", "Update"): {"f:spec": {"f:replicas": {}}},
    }
