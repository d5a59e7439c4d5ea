"""How fetching the files of a ScanJob failed: what the program in the Job says to the operator.

It travels as the message that a container ends with, which the kubelet cuts at 4096 bytes. What must stay true: it is
written by our own program from words that hold no credential.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from .reasons import Reason

MAX_MESSAGE = 1000  # characters, of up to four bytes or an escape of six


class Failure(StrEnum):
    """Whether it may go better another time."""

    FINAL = "final"  # never, as the ScanJob is
    WAITS = "waits"  # once a person has done something: it is tried until the ScanJob's time is over
    PASSES = "passes"  # perhaps: it is tried a few times


class SourceOutcome(Struct, frozen=True):
    """`reason` is one of api.reasons.Reason."""

    reason: str
    message: str
    failure: Failure = Failure.FINAL


def cut(reason: Reason, message: str, failure: Failure) -> SourceOutcome:
    """An outcome that fits."""
    return SourceOutcome(
        reason.value, message if len(message) <= MAX_MESSAGE else f"{message[: MAX_MESSAGE - 3]}...", failure
    )
