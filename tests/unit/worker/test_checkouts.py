"""Which trees a worker keeps, for whom, and which go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from mahavishnu_operator.api.wire import ArchiveSource, GitSource
from mahavishnu_operator.worker.checkouts import Checkouts, Use
from mahavishnu_operator.worker.messages import Piece, Prepared

ARCHIVE = ArchiveSource("a" * 64)
COMMIT = "c" * 40


async def pieces(digest: str) -> AsyncGenerator[Piece, None]:
    yield Piece(digest.encode(), first=True, last=True)


def table(*, trees: int = 8, size: int = 1000) -> Checkouts:
    return Checkouts(Path("/work/sources"), pieces=pieces, most_trees=trees, most_bytes=size)


def made(use: Use, *, size: int = 1, commit: str = "") -> None:
    use.prepared(Prepared(use.place.fresh, "seal", size, commit))


async def one(checkouts: Checkouts, job: str, source: ArchiveSource | GitSource = ARCHIVE, *, size: int = 1) -> Use:
    """One task from beginning to end, which makes its tree where there is none."""
    async with checkouts.use(f"{job}/t", source, cancel=asyncio.Event()) as use:
        if use.place.ready:
            use.prepared(Prepared(use.place.ready, use.place.seal, size))
        else:
            made(use, size=size)
        return use


async def test_tasks_of_a_job_share_a_tree_and_its_seal() -> None:
    checkouts = table()
    first, second = await one(checkouts, "a"), await one(checkouts, "a")
    assert (second.place.ready, second.place.seal) == (first.place.fresh, "seal")


async def test_another_job_has_a_tree_of_its_own() -> None:
    checkouts = table()
    await one(checkouts, "a")
    assert (await one(checkouts, "b")).place.ready == ""


async def test_the_tree_of_a_plan_is_used_by_the_tasks_of_the_commit_that_it_found() -> None:
    checkouts = table()
    async with checkouts.use("a/plan", GitSource("https://h/r", "main"), cancel=asyncio.Event()) as use:
        made(use, commit=COMMIT)
    assert (await one(checkouts, "a", GitSource("https://h/r", COMMIT))).place.ready == use.place.fresh
    assert (await one(checkouts, "a", GitSource("https://h/r", "main"))).place.ready == ""


async def test_a_tree_that_was_altered_is_replaced_and_removed() -> None:
    checkouts = table()
    first = await one(checkouts, "a")
    async with checkouts.use("a/t", ARCHIVE, cancel=asyncio.Event()) as use:
        made(use)
    assert use.place.ready == first.place.fresh
    third = await one(checkouts, "a")
    assert (third.place.ready, third.place.drop) == (use.place.fresh, (first.place.fresh,))


async def test_the_longest_unused_goes_first_and_none_in_use() -> None:
    checkouts = table(trees=3)
    async with checkouts.use("used/t", ARCHIVE, cancel=asyncio.Event()) as used:
        made(used)
        old, young = await one(checkouts, "old"), await one(checkouts, "young")
        assert (await one(checkouts, "new")).place.drop == (old.place.fresh,)
        assert (await one(checkouts, "newer")).place.drop == (young.place.fresh,)


async def test_trees_go_when_they_are_too_large_together() -> None:
    checkouts = table(size=10)
    large = await one(checkouts, "a", size=11)
    assert (await one(checkouts, "b")).place.drop == (large.place.fresh,)


async def test_what_a_dead_runner_left_is_removed_by_the_next() -> None:
    checkouts = table()
    async with checkouts.use("a/t", ARCHIVE, cancel=asyncio.Event()) as use:
        pass
    assert (await one(checkouts, "a")).place.drop == (use.place.fresh,)


async def test_two_tasks_at_once_make_one_tree() -> None:
    checkouts, cancel = table(), asyncio.Event()
    async with checkouts.use("a/t1", ARCHIVE, cancel=cancel) as first:
        second = asyncio.create_task(one(checkouts, "a"))
        await asyncio.sleep(0)
        assert not second.done()
        made(first)
        assert (await second).place.ready == first.place.fresh


async def test_a_task_that_is_cancelled_waits_for_no_tree() -> None:
    checkouts, cancel = table(), asyncio.Event()
    async with checkouts.use("a/t1", ARCHIVE, cancel=asyncio.Event()):
        cancel.set()
        async with checkouts.use("a/t2", ARCHIVE, cancel=cancel) as use:
            assert use.place.ready == ""


@pytest.mark.parametrize("folder", ["/etc", "/work/sources/99"])
async def test_a_runner_cannot_name_another_folder(folder: str) -> None:
    async with table().use("a/t", ARCHIVE, cancel=asyncio.Event()) as use:
        with pytest.raises(ValueError, match="the runner has put"):
            use.prepared(Prepared(folder, "seal", 1))


async def test_a_runner_gets_the_archive_of_its_task_alone() -> None:
    async with table().use("a/t", ARCHIVE, cancel=asyncio.Event()) as use:
        assert (await use.piece()).data == ARCHIVE.sha256.encode()
    async with table().use("a/t", GitSource("https://h/r", COMMIT), cancel=asyncio.Event()) as use:
        with pytest.raises(ValueError, match="has none"):
            await use.piece()
