from __future__ import annotations

import pytest

from mahavishnu_operator.api.reasons import ConditionType, Reason
from mahavishnu_operator.control.conditions import Wish, find, is_true, merge, seconds_of, shorten, timestamp

READY = Wish(ConditionType.READY, True, Reason.WORKERS_READY, "2 workers")


def test_a_transition_time_is_kept_while_the_status_stays() -> None:
    first = merge([], [READY], now=100.0, generation=1)
    second = merge(first, [Wish(ConditionType.READY, True, Reason.SCALED_TO_ZERO)], now=200.0, generation=2)
    assert second[0]["lastTransitionTime"] == timestamp(100.0)
    assert (second[0]["reason"], second[0]["observedGeneration"]) == ("ScaledToZero", 2)


def test_a_transition_time_moves_when_the_status_changes() -> None:
    first = merge([], [READY], now=100.0, generation=1)
    second = merge(first, [Wish(ConditionType.READY, False, Reason.SCALING_UP)], now=200.0, generation=1)
    assert second[0]["lastTransitionTime"] == timestamp(200.0)


def test_a_condition_of_somebody_else_is_kept() -> None:
    foreign = {"type": "Audited", "status": "True", "reason": "x", "message": "", "lastTransitionTime": timestamp(1.0)}
    assert merge([foreign], [READY], now=2.0, generation=1)[1] == foreign


def test_an_unknown_status_is_written_unknown() -> None:
    entry = merge([], [Wish(ConditionType.READY, None, Reason.PENDING)], now=1.0, generation=1)[0]
    assert entry["status"] == "Unknown"


def test_a_condition_that_is_not_there_is_not_true() -> None:
    assert find({}, ConditionType.READY) is None
    assert not is_true({"conditions": [{"type": "Ready", "status": "Unknown"}]}, ConditionType.READY)


def test_what_is_cut_from_a_message_is_announced() -> None:
    cut = shorten("x" * 5000)
    assert len(cut) <= 1024
    assert cut.endswith("(5000 characters in all)")


@pytest.mark.parametrize("text", ["1970-01-01T00:01:40Z", "1970-01-01T00:01:40.000000Z", "1970-01-01T01:01:40+01:00"])
def test_times_of_the_api_are_read(text: str) -> None:
    assert seconds_of(text) == 100.0
    assert timestamp(100.9) == "1970-01-01T00:01:40Z"
