from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mahavishnu_operator.client import Client
from mahavishnu_operator.client.door import Way
from mahavishnu_operator.client.notes import MAX_NOTE_BYTES, Note, make_room
from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.embedded import EmbeddedResources
from mahavishnu_operator.resources.protocol import WORKER_POOL
from mahavishnu_operator.support.errors import InvalidInput


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    resources = EmbeddedResources(tmp_path / "objects.db")
    async with Client(resources, Way(Connection.from_url("http://127.0.0.1:9"), embedded=True)) as connected:
        yield connected
    await resources.close()


def a_note(key: str, *, at: float, until: float = 1000.0, size: int = 10) -> Note:
    return Note("ns", key, "x" * size, "me", at, until)


async def stored(client: Client) -> list[tuple[str, str, object]]:
    return [(note.namespace, note.key, note.value) for note in await client.notes.all()]


async def test_a_note_is_found_until_it_is_replaced(client: Client) -> None:
    assert await stored(client) == []
    await client.notes.store("a", "k", {"n": 1}, seconds=60)
    await client.notes.store("b", "k", "other", seconds=60)
    await client.notes.store("a", "k", {"n": 2}, seconds=60)
    assert await stored(client) == [("a", "k", {"n": 2}), ("b", "k", "other")]


async def test_a_note_whose_time_is_over_is_not_found_and_makes_room(client: Client) -> None:
    await client.notes.store("a", "short", 1, seconds=1e-6)
    assert await stored(client) == []
    await client.notes.store("a", "long", 2, seconds=60)
    obj = await client.resources.get(WORKER_POOL, client.notes.pool)
    assert len(obj["metadata"]["annotations"]) == 1


async def test_notes_of_many_at_once_are_all_kept(client: Client) -> None:
    await asyncio.gather(*(client.notes.store("a", str(number), number, seconds=60) for number in range(8)))
    assert len(await stored(client)) == 8


async def test_the_pool_of_notes_is_no_pool_for_work(client: Client) -> None:
    await client.notes.store("a", "k", 1, seconds=60)
    assert await client.pools.list() == ()
    assert await client.pools.close_all() == ([], {})
    assert await stored(client) == [("a", "k", 1)]


async def test_a_note_that_is_too_large_is_refused(client: Client) -> None:
    with pytest.raises(InvalidInput, match=f"at most {MAX_NOTE_BYTES}"):
        await client.notes.store("a", "k", "x" * MAX_NOTE_BYTES, seconds=60)


async def test_what_somebody_else_wrote_there_is_no_note(client: Client) -> None:
    await client.notes.store("a", "k", 1, seconds=60)
    annotations = {a_note("x", at=1).name: "[]", "other": "{}"}
    await client.resources.merge(WORKER_POOL, client.notes.pool, {"metadata": {"annotations": annotations}})
    assert await stored(client) == [("a", "k", 1)]


def test_the_oldest_go_when_there_is_no_room() -> None:
    there = {note.name: note for note in (a_note("old", at=1), a_note("newer", at=2), a_note("over", at=3, until=4))}
    kept, gone = make_room(there, a_note("new", at=5), now=5, most=220)
    assert ([note.key for note in kept.values()], [note.key for note in gone]) == (["newer"], ["old"])
