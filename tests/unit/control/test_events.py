from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mahavishnu_operator.api.reasons import EventReason
from mahavishnu_operator.control.events import (
    AGAIN_SECONDS,
    MOST_WAITING,
    Happening,
    Recorder,
    job_happenings,
    pool_happenings,
)
from mahavishnu_operator.resources.protocol import Unreachable


def status(phase: str = "Running", **conditions: str) -> dict[str, Any]:
    entries = [{"type": t, "status": s, "reason": f"{t}Reason", "message": "words"} for t, s in conditions.items()]
    return {"phase": phase, "conditions": entries, "observedGeneration": 1}


@pytest.mark.parametrize(
    ("old", "new", "reasons"),
    [
        (status(), status(Accepted="True"), ["Accepted"]),
        (status(), status(Accepted="False"), ["Refused"]),
        (status(Accepted="True"), status(Accepted="True"), []),
        (status(Planned="False"), status(Planned="True"), ["Planned"]),
        (status(), status(Planned="False"), []),
        (status(), status(Suspended="True"), ["Suspended"]),
        (status(Suspended="True"), status(Suspended="False"), ["Resumed"]),
        (status(), status("Succeeded", Complete="True", Failed="False"), ["Completed"]),
        (status(), status("Failed", Complete="False", Failed="True"), ["Failed"]),
        (status(), status("Cancelled", Complete="False", Failed="True"), ["Cancelled"]),
    ],
)
def test_what_happened_to_a_job(old: dict[str, Any], new: dict[str, Any], reasons: list[str]) -> None:
    assert [happening.reason.value for happening in job_happenings(old, new)] == reasons


def test_only_what_went_wrong_is_a_warning() -> None:
    (failed,) = job_happenings(status(), status("Failed", Failed="True"))
    (cancelled,) = job_happenings(status(), status("Cancelled", Failed="True"))
    assert (failed.warning, cancelled.warning) == (True, False)
    assert failed.message == "FailedReason: words"


def test_a_scale_is_told_once() -> None:
    scaled = {"lastScale": {"time": "t", "from": 0, "to": 2, "reason": "ScalingUp"}}
    assert [h.message for h in pool_happenings({}, scaled)] == ["0 to 2 workers: ScalingUp"]
    assert pool_happenings(scaled, scaled) == []


class Events:
    """Where events go; the first one is not taken."""

    def __init__(self, *, broken: bool = False) -> None:
        self.seen: list[tuple[str, str, str]] = []
        self.broken = broken

    async def record_event(self, obj: dict[str, Any], *, reason: str, message: str, type_: str = "Normal") -> None:
        if self.broken:
            raise Unreachable("the API server does not answer")
        self.seen.append((reason, message, type_))


OBJ = {"metadata": {"uid": "u", "name": "n"}}


async def written(events: Events, *happened: list[Happening]) -> list[tuple[str, str, str]]:
    recorder = Recorder(events)  # type: ignore[arg-type]
    for happenings in happened:
        recorder.record(OBJ, happenings)
    running = asyncio.create_task(recorder.run())
    await recorder.flush(seconds=60)
    running.cancel()
    return events.seen


async def test_the_same_event_is_written_once() -> None:
    happened = job_happenings(status(), status(Accepted="False"))
    assert await written(Events(), happened, happened) == [("Refused", "AcceptedReason: words", "Warning")]


async def test_what_happens_again_later_is_written_again() -> None:
    times = iter((0.0, AGAIN_SECONDS - 1, AGAIN_SECONDS, AGAIN_SECONDS + 1))
    events = Events()
    recorder = Recorder(events, clock=lambda: next(times))  # type: ignore[arg-type]
    running = asyncio.create_task(recorder.run())
    for _ in range(4):
        recorder.record(OBJ, [Happening(EventReason.SUSPENDED, "words")])
    await recorder.flush(seconds=60)
    running.cancel()
    assert events.seen == [("Suspended", "words", "Normal")] * 2


async def test_an_event_that_cannot_be_written_holds_nothing_up() -> None:
    assert await written(Events(broken=True), job_happenings(status(), status(Accepted="True"))) == []


async def test_of_more_events_than_may_wait_the_newest_are_written() -> None:
    many = [[Happening(EventReason.SCALED, str(number))] for number in range(MOST_WAITING + 3)]
    seen = await written(Events(), *many)
    assert [message for _, message, _ in seen] == [str(number) for number in range(3, MOST_WAITING + 3)]


def test_a_job_that_ended_well_before_its_first_status_has_one_event() -> None:
    untouched = status("Pending")
    del untouched["observedGeneration"]
    ended = status("Succeeded", Accepted="True", Planned="True", Complete="True", Failed="False")
    assert [each.reason.value for each in job_happenings(untouched, ended)] == ["Completed"]
    failed = status("Failed", Accepted="True", Planned="True", Complete="False", Failed="True")
    assert [each.reason.value for each in job_happenings(untouched, failed)] == ["Accepted", "Planned", "Failed"]
