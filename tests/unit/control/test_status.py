"""The status writer against the real embedded API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mahavishnu_operator.control.status import FIRST_SECONDS, StatusWriter, at_least, merge_patch
from mahavishnu_operator.resources.embedded import EmbeddedResources
from mahavishnu_operator.resources.patching import merge_patch as apply_merge_patch
from mahavishnu_operator.resources.protocol import WORKER_POOL, Key, Obj
from mahavishnu_operator.support.errors import Conflict

KEY = Key("default", "p")
POOL: Obj = {
    "apiVersion": "mahavishnu.dev/v1alpha1",
    "kind": "WorkerPool",
    "metadata": {"name": "p", "namespace": "default"},
    "spec": {"backend": "local-process"},
}


@pytest.fixture
async def resources(tmp_path: Path) -> AsyncIterator[EmbeddedResources]:
    embedded = EmbeddedResources(tmp_path / "objects.db")
    yield embedded
    await embedded.close()


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


async def version(resources: EmbeddedResources) -> str:
    return str((await resources.get(WORKER_POOL, KEY))["metadata"]["resourceVersion"])


async def test_nothing_is_written_when_nothing_changed(resources: EmbeddedResources) -> None:
    obj = await resources.create(WORKER_POOL, POOL)
    writer = StatusWriter(resources, WORKER_POOL)
    assert await writer.write(obj, {"ready": 1}) is None
    before = await version(resources)
    assert await writer.write(obj, {"ready": 1}) is None
    assert await version(resources) == before


async def test_an_object_made_anew_under_the_same_name_does_not_get_the_old_ones_status(
    resources: EmbeddedResources,
) -> None:
    old = await resources.create(WORKER_POOL, POOL)
    await resources.delete(WORKER_POOL, KEY)
    new = await resources.create(WORKER_POOL, POOL)
    with pytest.raises(Conflict):
        await StatusWriter(resources, WORKER_POOL).write(old, {"ready": 7}, at_once=True)
    assert (await resources.get(WORKER_POOL, KEY))["metadata"]["resourceVersion"] == new["metadata"]["resourceVersion"]


async def test_counters_wait_for_the_interval_and_ends_do_not(resources: EmbeddedResources) -> None:
    obj = await resources.create(WORKER_POOL, POOL)
    clock = Clock()
    writer = StatusWriter(resources, WORKER_POOL, clock=clock)
    assert await writer.write(obj, {"ready": 1}) is None
    clock.now += 0.5
    assert await writer.write(obj, {"ready": 2}) == pytest.approx(1.5)
    assert (await resources.get(WORKER_POOL, KEY))["status"]["ready"] == 1
    assert await writer.write(obj, {"ready": 2}, at_once=True) is None
    assert (await resources.get(WORKER_POOL, KEY))["status"]["ready"] == 2
    clock.now += 2.0
    assert await writer.write(obj, {"ready": 3}) is None


async def test_a_first_status_waits_for_an_end_that_may_be_near(resources: EmbeddedResources) -> None:
    obj = await resources.create(WORKER_POOL, POOL)
    clock = Clock()
    writer = StatusWriter(resources, WORKER_POOL, clock=clock)
    before = await version(resources)
    assert await writer.write(obj, {"ready": 1}, may_end_soon=True) == pytest.approx(FIRST_SECONDS)
    clock.now += FIRST_SECONDS / 2
    assert await writer.write(obj, {"ready": 2}, may_end_soon=True) == pytest.approx(FIRST_SECONDS / 2)
    assert await version(resources) == before
    clock.now += FIRST_SECONDS / 2
    assert await writer.write(obj, {"ready": 2, "observedGeneration": 1}, may_end_soon=True) is None
    assert (await resources.get(WORKER_POOL, KEY))["status"]["ready"] == 2


async def test_an_end_is_written_at_once_and_a_second_status_waits_no_longer_for_it(
    resources: EmbeddedResources,
) -> None:
    obj = await resources.create(WORKER_POOL, POOL)
    clock = Clock()
    writer = StatusWriter(resources, WORKER_POOL, clock=clock)
    await writer.write(obj, {"ready": 1}, may_end_soon=True)
    assert await writer.write(obj, {"ready": 2, "observedGeneration": 1}, at_once=True, may_end_soon=True) is None
    assert await writer.write(obj, {"ready": 3}, may_end_soon=True) == pytest.approx(2.0)


async def test_our_own_write_is_the_truth_until_the_watch_shows_it(resources: EmbeddedResources) -> None:
    obj = await resources.create(WORKER_POOL, POOL)
    writer = StatusWriter(resources, WORKER_POOL)
    await writer.write(obj, {"ready": 1})
    assert writer.effective(obj)["ready"] == 1
    await resources.merge_status(WORKER_POOL, KEY, {"ready": 7})
    assert writer.effective(await resources.get(WORKER_POOL, KEY))["ready"] == 7


async def test_a_field_that_is_gone_is_removed(resources: EmbeddedResources) -> None:
    obj = await resources.create(WORKER_POOL, POOL)
    writer = StatusWriter(resources, WORKER_POOL, interval=0.0)
    await writer.write(obj, {"ready": 1, "idleSince": "2026-01-01T00:00:00Z"})
    await writer.write(obj, {"ready": 1})
    assert "idleSince" not in (await resources.get(WORKER_POOL, KEY))["status"]


async def test_an_object_that_has_gone_is_no_error(resources: EmbeddedResources) -> None:
    obj = await resources.create(WORKER_POOL, POOL)
    await resources.delete(WORKER_POOL, KEY)
    assert await StatusWriter(resources, WORKER_POOL).write(obj, {"ready": 1}) is None


@pytest.mark.parametrize(
    ("seen", "written", "expected"), [("10", "9", True), ("9", "10", False), ("9", "9", True), ("a", "b", False)]
)
def test_versions_compare_as_numbers(seen: str, written: str, expected: bool) -> None:
    assert at_least(seen, written) is expected


values = st.recursive(
    st.integers(0, 3) | st.sampled_from("xyz"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(st.sampled_from("abcd"), values, max_size=4)


@given(objects, objects)
def test_a_patch_turns_one_status_into_another(old: dict[str, Any], new: dict[str, Any]) -> None:
    patch = merge_patch(old, new)
    assert apply_merge_patch(old, patch) == new
    assert (patch == {}) == (old == new)


async def test_an_object_is_an_echo_of_the_last_write_until_somebody_else_changes_it(
    resources: EmbeddedResources,
) -> None:
    obj = await resources.create(WORKER_POOL, POOL)
    writer = StatusWriter(resources, WORKER_POOL)
    assert not writer.is_echo(obj)
    await writer.write(obj, {"ready": 1})
    seen = await resources.get(WORKER_POOL, KEY)
    assert writer.is_echo(seen)
    changed = await resources.merge(WORKER_POOL, KEY, {"spec": {"maxWorkers": 3}})
    assert not writer.is_echo(changed)
