"""The reflector through everything that a server can do to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from mahavishnu_operator.resources.cache import Reflector, backoff
from mahavishnu_operator.resources.protocol import (
    WORKER_POOL,
    EventType,
    Expired,
    Key,
    Kind,
    Listing,
    Obj,
    Silent,
    Unreachable,
    WatchEvent,
)
from mahavishnu_operator.support.errors import MahavishnuError


def obj(name: str, version: int, *, uid: str = "") -> Obj:
    meta = {"name": name, "namespace": "n", "uid": uid or name, "resourceVersion": str(version)}
    return {"kind": "WorkerPool", "metadata": meta}


def event(type_: str, name: str, version: int, *, uid: str = "") -> WatchEvent:
    return WatchEvent(EventType(type_), obj(name, version, uid=uid))


class Script:
    """A server that plays the given answers: lists in turn, then for each watch its events and how it ends."""

    def __init__(
        self, lists: list[list[Obj] | MahavishnuError], watches: list[list[WatchEvent | MahavishnuError]]
    ) -> None:
        self.lists, self.watches = lists, watches
        self.since: list[str] = []
        self.done = asyncio.Event()

    async def list(self, kind: Kind, *, namespace: str | None = None, label_selector: str = "") -> Listing:
        answer = self.lists.pop(0)
        if isinstance(answer, MahavishnuError):
            raise answer
        return Listing(tuple(answer), "100")

    async def watch(self, kind: Kind, *, namespace: str | None = None, since: str) -> AsyncIterator[WatchEvent]:
        self.since.append(since)
        if not self.watches:
            self.done.set()
            await asyncio.Event().wait()
        for step in self.watches.pop(0):
            if isinstance(step, MahavishnuError):
                raise step
            yield step


async def play(script: Script, *, max_delay: float = 0.001) -> tuple[list[str], list[str]]:
    """The names that changed, in order, and those left in the end."""
    changed: list[str] = []
    reflector = Reflector(
        script,  # of the protocol it needs these two
        WORKER_POOL,
        on_change=lambda key: changed.append(key.name),
        max_delay=max_delay,
    )
    running = asyncio.create_task(reflector.run())
    async with asyncio.timeout(10):
        await script.done.wait()
    running.cancel()
    await asyncio.wait({running})
    return changed, sorted(key.name for key in reflector.store)


async def test_changes_are_told_once_each() -> None:
    watch = [event("ADDED", "b", 101), event("MODIFIED", "a", 102), event("DELETED", "b", 103)]
    changed, left = await play(Script([[obj("a", 1)]], [[*watch]]))
    assert changed == ["a", "b", "a", "b"]
    assert left == ["a"]


async def test_a_broken_watch_goes_on_from_its_last_version() -> None:
    script = Script([[]], [[event("ADDED", "a", 101), Unreachable("cut")], [event("BOOKMARK", "", 150)], []])
    await play(script)
    assert script.since == ["100", "101", "150", "150"]


async def test_what_was_deleted_during_a_gap_is_found() -> None:
    script = Script([[obj("a", 1), obj("b", 2)], [obj("b", 2)]], [[Expired("too old")]])
    changed, left = await play(script)
    assert changed == ["a", "b", "a"]
    assert left == ["b"]


async def test_an_object_that_was_made_anew_is_another_one() -> None:
    script = Script([[obj("a", 1, uid="x")], [obj("a", 1, uid="y")]], [[Expired("too old")]])
    assert (await play(script))[0] == ["a", "a"]


async def test_a_server_that_is_down_is_asked_again() -> None:
    script = Script([Unreachable("down"), Unreachable("down"), [obj("a", 1)]], [[Unreachable("down")]])
    changed, _ = await play(script)
    assert changed == ["a"]
    assert script.since == ["100", "100"]


async def test_the_watch_of_a_quiet_kind_is_opened_anew_at_once() -> None:
    script = Script([[]], [[Silent("quiet")] for _ in range(20)])
    await play(script, max_delay=3600.0)
    assert script.since == ["100"] * 21


async def test_a_list_that_fails_after_expiry_is_tried_again() -> None:
    script = Script([[obj("a", 1)], Unreachable("down"), []], [[event("MODIFIED", "a", 101), Expired("x")]])
    assert (await play(script))[0] == ["a", "a", "a"]


class Slow:
    """A server whose list takes until it is told to answer."""

    def __init__(self, answer: Callable[[], list[Obj]]) -> None:
        self._answer = answer
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def list(self, kind: Kind, *, namespace: str | None = None, label_selector: str = "") -> Listing:
        answer = self._answer()
        self.asked.set()
        await self.go.wait()
        return Listing(tuple(answer), "100")


@pytest.mark.parametrize("deleted", [True, False])
async def test_a_list_under_way_does_not_undo_an_event(deleted: bool) -> None:
    slow = Slow(lambda: [obj("a", 1)] if deleted else [])
    reflector = Reflector(slow, WORKER_POOL, on_change=lambda key: None)  # type: ignore[arg-type]
    if deleted:
        reflector.observe(event("ADDED", "a", 1))
    resync = asyncio.create_task(reflector.resync())
    await slow.asked.wait()
    reflector.observe(event("DELETED" if deleted else "ADDED", "a", 2))
    slow.go.set()
    await resync
    assert (Key("n", "a") in reflector.store) is not deleted


async def test_the_store_has_changed_when_a_change_is_told() -> None:
    seen: list[bool] = []
    reflector: Reflector = Reflector(
        Slow(list),  # type: ignore[arg-type]
        WORKER_POOL,
        on_change=lambda key: seen.append(key in reflector.store),
    )
    reflector.observe(event("ADDED", "a", 1))
    reflector.observe(event("MODIFIED", "a", 1))  # the same again: nothing to tell
    reflector.observe(event("DELETED", "a", 2))
    assert seen == [True, False]


@pytest.mark.parametrize("type_", ["MODIFIED", "DELETED"])
async def test_a_late_event_of_its_predecessor_does_not_touch_an_object(type_: str) -> None:
    reflector = Reflector(Slow(list), WORKER_POOL, on_change=lambda key: None)  # type: ignore[arg-type]
    reflector.observe(event("ADDED", "a", 10, uid="second"))
    reflector.observe(event(type_, "a", 9, uid="first"))
    assert reflector.store[Key("n", "a")]["metadata"]["uid"] == "second"


def test_the_delay_doubles_to_its_limit_with_jitter() -> None:
    for failures, most in ((0, 0.2), (1, 0.4), (3, 1.6), (20, 30.0), (5_000, 30.0)):
        delay = backoff(failures, longest=30.0)
        assert most / 2 <= delay <= most
