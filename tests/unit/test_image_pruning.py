"""Which built images are kept."""

from __future__ import annotations

from pathlib import Path

from tests.images.pruning import KEPT, KEPT_SECONDS, decide_prune

NOW = 1e9
OLD, FRESH = NOW - KEPT_SECONDS - 1, NOW - KEPT_SECONDS + 1


def archives(**used_at: float) -> dict[Path, float]:
    return {Path(name): at for name, at in used_at.items()}


def test_the_newest_stay_however_old_they_are() -> None:
    assert decide_prune({Path(str(number)): OLD for number in range(KEPT)}, now=NOW) == []


def test_old_ones_go_once_there_are_enough_newer_ones() -> None:
    found = archives(a=OLD - 1, b=OLD - 2, c=FRESH, d=FRESH, e=FRESH)
    assert decide_prune(found, now=NOW) == [Path("b"), Path("a")]


def test_one_that_a_run_may_still_load_stays() -> None:
    found = archives(a=FRESH, b=FRESH + 1, c=FRESH + 2, d=FRESH + 3)
    assert decide_prune(found, now=NOW) == []
