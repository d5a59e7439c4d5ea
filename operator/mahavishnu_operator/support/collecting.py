"""What a server has made by the time it serves, and what stays for long afterwards, is left out of collections.

The pressure: a full collection walks every object there is, and nothing is answered meanwhile. Modules, schemas and
validators are 190,000 objects, a tenth of a second; what an operator knows of five thousand workers made of it 0.6 s of
processor time, every six seconds in a burst, to find a thousandth of it garbage. What must stay true: what
a long collection left out is looked at again ten minutes later at the earliest, so that garbage goes some time; a
collection that is no trouble is left to the interpreter.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from enum import Enum

LONG_SECONDS = 0.1  # of a full collection: a gateway with five minutes of calls, whose garbage is worth it, needs half
WHOLE_SECONDS = 600.0
FULL = 2  # the generation of a full collection


class After(Enum):
    """What to do after a full collection."""

    NOTHING = "nothing"
    LEAVE_OUT = "leave out what is there from now on"
    TAKE_IN = "take in again what was left out"


def decide_after(*, took_seconds: float, left_out: bool, since_whole_seconds: float) -> After:
    """`left_out`: some was, since everything was taken in last, or since the start."""
    if left_out and since_whole_seconds >= WHOLE_SECONDS:
        return After.TAKE_IN
    return After.LEAVE_OUT if took_seconds >= LONG_SECONDS else After.NOTHING


class Keeper:
    """Told by the interpreter of each collection, in whatever thread has caused it."""

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._begun = self._whole_at = clock()
        self._left_out = False

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        """Take note of the beginning of a full collection, and decide at its end."""
        if info["generation"] != FULL:
            return
        now = self._clock()
        if phase == "start":
            self._begun = now
            return
        took, since_whole = now - self._begun, now - self._whole_at
        match decide_after(took_seconds=took, left_out=self._left_out, since_whole_seconds=since_whole):
            case After.LEAVE_OUT:
                gc.freeze()
                if not self._left_out:
                    self._left_out, self._whole_at = True, now
            case After.TAKE_IN:
                gc.unfreeze()
                self._left_out, self._whole_at = False, now


_keeper = Keeper()


def settle() -> None:
    """Take what is there now for what stays, and from now on what long collections have walked."""
    gc.freeze()
    if _keeper not in gc.callbacks:
        gc.callbacks.append(_keeper)


def leave() -> None:
    """The end is near: let the interpreter's last collection, which would take seconds, find nothing to walk."""
    if _keeper in gc.callbacks:
        gc.callbacks.remove(_keeper)
    gc.freeze()
