from __future__ import annotations

from mahavishnu_operator.mcp_gateway.limiting import Limiter, Rate


def test_the_fan_out_of_a_scan_passes_at_once() -> None:
    limiter = Limiter(Rate())
    assert [limiter.wait_for("me", now=0) for _ in range(6000)] == [0.0] * 6000


def test_what_stays_below_the_rate_passes_for_ever() -> None:
    limiter = Limiter(Rate(burst=10, per_second=5))
    assert not any(limiter.wait_for("me", now=number / 5) for number in range(1000))


def test_who_is_refused_may_call_after_the_time_that_was_said() -> None:
    limiter = Limiter(Rate(burst=2, per_second=0.25))
    assert [limiter.wait_for("me", now=0) for _ in range(4)] == [0.0, 0.0, 4.0, 4.0]
    assert limiter.wait_for("me", now=3.9) > 0
    assert limiter.wait_for("me", now=4.0 + 0.001) == 0.0


def test_one_caller_takes_nothing_from_another() -> None:
    limiter = Limiter(Rate(burst=1, per_second=1))
    assert [limiter.wait_for(caller, now=0) > 0 for caller in ("a", "a", "b")] == [False, True, False]


def test_callers_that_are_not_heard_of_are_forgotten() -> None:
    limiter = Limiter(Rate(burst=1, per_second=0.001), most_callers=2)
    for caller in ("a", "b", "c"):
        limiter.wait_for(caller, now=0)
    assert [limiter.wait_for(caller, now=0) > 0 for caller in ("c", "a")] == [True, False]
