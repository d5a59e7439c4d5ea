from __future__ import annotations

import pytest

from mahavishnu_operator.worker.pacing import Pace, decide_lease, decide_sent


def lease(*, slots: int = 1, held: int = 0, seconds: float | None = None, running: float = 0.0) -> int:
    return decide_lease(slots=slots, held=held, pace=Pace(seconds), longest_running_seconds=running, max_batch=64)


def test_a_new_worker_asks_for_its_slots() -> None:
    assert lease(slots=3) == 3


def test_a_full_worker_asks_for_nothing() -> None:
    assert lease(slots=2, held=2, seconds=10.0) == 0


def test_long_tasks_are_never_fetched_ahead() -> None:
    assert lease(slots=1, held=0, seconds=60.0) == 1


def test_tasks_of_no_length_are_fetched_by_the_batch() -> None:
    assert lease(seconds=0.0) == 64


def test_a_quarter_of_a_second_of_work_is_fetched_ahead() -> None:
    assert lease(seconds=0.025) == 1 + 10


def test_nothing_is_fetched_ahead_while_a_task_takes_unusually_long() -> None:
    assert lease(held=1, seconds=0.0, running=5.0) == 0


@pytest.mark.parametrize(("durations", "mean"), [([1.0], 1.0), ([1.0, 0.0], 0.8)])
def test_the_pace_follows_the_newest_tasks(durations: list[float], mean: float) -> None:
    pace = Pace()
    for seconds in durations:
        pace = pace.after(seconds)
    assert pace.seconds == pytest.approx(mean)


@pytest.mark.parametrize(("seconds", "sent"), [(None, 1), (60.0, 1), (0.05, 2), (0.01, 10), (0.0, 64)])
def test_a_tenth_of_a_second_of_commands_is_on_its_way_to_a_runner(seconds: float | None, sent: int) -> None:
    assert decide_sent(Pace(seconds)) == sent
