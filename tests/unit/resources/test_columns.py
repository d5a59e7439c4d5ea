"""Cells of `kubectl get`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mahavishnu_operator.resources.rest.columns import age, cell, evaluate
from mahavishnu_operator.resources.schemas import Column

NOW = datetime(2026, 1, 10, tzinfo=UTC)
OBJ = {"a": {"b": [1, 2]}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (".a.b[1]", 2),
        (".a['b'][0]", 1),
        (".a.b[9]", None),
        (".nothing.here", None),
        ('.status.conditions[?(@.type=="Ready")].status', "True"),
        (".status.conditions[?(@.type=='Failed')].status", None),
    ],
)
def test_a_path_finds_its_value(path: str, value: object) -> None:
    assert evaluate(path, OBJ) == value


def test_an_unsupported_path_is_an_error() -> None:
    with pytest.raises(ValueError, match="not supported"):
        evaluate(".a[*]", OBJ)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (5, "5s"),
        (119, "119s"),
        (120, "2m"),
        (130, "2m10s"),
        (15 * 60, "15m"),
        (179 * 60, "179m"),
        (3 * 3600 + 300, "3h5m"),
        (9 * 3600, "9h"),
        (50 * 3600, "2d2h"),
        (10 * 86_400, "10d"),
        (800 * 86_400, "2y70d"),
        (3000 * 86_400, "8y"),
    ],
)
def test_ages_read_like_kubectls(seconds: int, words: str) -> None:
    assert age((NOW - timedelta(seconds=seconds)).isoformat(), now=NOW) == words


def test_a_missing_value_is_an_empty_cell() -> None:
    assert cell(Column("Phase", "string", ".status.phase"), {}, now=NOW) is None
