"""A job goes when its ScanJob is gone and its time is over."""

from __future__ import annotations

import pytest

from mahavishnu_operator.store.retention import choose_expired

NOW = 1000.0


def expired(*known: tuple[str, float], listed: tuple[str, ...] = (), retention: float = 100.0) -> list[str]:
    return choose_expired(known, listed, now=NOW, retention_seconds=retention)


def test_a_job_that_is_not_listed_goes_after_its_time() -> None:
    assert expired(("gone", NOW - 100.0)) == ["gone"]


def test_a_job_that_is_not_listed_stays_for_its_time() -> None:
    assert expired(("gone", NOW - 99.9)) == []


def test_a_job_that_is_listed_stays_however_old() -> None:
    assert expired(("there", 0.0), listed=("there",)) == []


@pytest.mark.parametrize("retention", [0.0, -5.0])
def test_a_job_added_after_the_list_was_begun_stays(retention: float) -> None:
    assert expired(("new", NOW + 0.1), retention=retention) == []


def test_the_oldest_go_first() -> None:
    assert expired(("b", 3.0), ("c", 2.0), ("a", 3.0)) == ["c", "a", "b"]
