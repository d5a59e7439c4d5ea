"""What is left out of collections, and for how long."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from mahavishnu_operator.support.collecting import (
    FULL,
    LONG_SECONDS,
    WHOLE_SECONDS,
    After,
    Keeper,
    decide_after,
    leave,
    settle,
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Cycle:
    """What only a collection frees."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    leave()
    gc.unfreeze()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keeper(clock: Clock) -> Keeper:
    return Keeper(clock=clock)


def collect(keeper: Keeper, clock: Clock, *, took: float, generation: int = FULL) -> None:
    keeper("start", {"generation": generation})
    clock.now += took
    keeper("stop", {"generation": generation})


def keepers() -> int:
    return sum(isinstance(each, Keeper) for each in gc.callbacks)


def test_what_is_there_when_a_server_settles_is_left_out_and_collections_are_watched_from_then_on() -> None:
    before = gc.get_freeze_count()
    settle()
    settle()
    assert (gc.get_freeze_count() > before, keepers()) == (True, 1)


def test_at_the_end_everything_is_left_out_and_nothing_watched() -> None:
    settle()
    kept = [[] for _ in range(1000)]  # type: ignore[var-annotated]
    before = gc.get_freeze_count()
    leave()
    assert (gc.get_freeze_count() > before + len(kept), keepers()) == (True, 0)


def test_a_short_collection_changes_nothing(keeper: Keeper, clock: Clock) -> None:
    before = gc.get_freeze_count()
    collect(keeper, clock, took=LONG_SECONDS / 2)
    assert gc.get_freeze_count() == before


def test_what_a_long_one_has_walked_is_left_out_of_the_next(keeper: Keeper, clock: Clock) -> None:
    kept = [[] for _ in range(1000)]  # type: ignore[var-annotated]
    collect(keeper, clock, took=LONG_SECONDS)
    assert gc.get_freeze_count() > len(kept)


def test_a_long_one_of_young_objects_alone_changes_nothing(keeper: Keeper, clock: Clock) -> None:
    before = gc.get_freeze_count()
    collect(keeper, clock, took=LONG_SECONDS, generation=1)
    assert gc.get_freeze_count() == before


def test_garbage_that_was_left_out_goes_after_a_while(keeper: Keeper, clock: Clock) -> None:
    cycle = Cycle()
    gone = weakref.ref(cycle)
    collect(keeper, clock, took=LONG_SECONDS)
    del cycle
    gc.collect()
    assert gone() is not None
    clock.now += WHOLE_SECONDS
    collect(keeper, clock, took=0.0)
    gc.collect()
    assert gone() is None


def test_nothing_is_taken_in_where_nothing_was_left_out() -> None:
    assert decide_after(took_seconds=0.0, left_out=False, since_whole_seconds=2 * WHOLE_SECONDS) is After.NOTHING
