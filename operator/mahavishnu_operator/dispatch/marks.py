"""What is known of the marks of busy workers, and which one is to be written: memory and a pure decision.

The pressure: a mark is on an object of the cluster, and several hands write there: a write that was not answered may
land later, a predecessor that was killed may have left one under way, and anybody may take a label off. What must stay
true: a mark counts as set only after our own write of it was answered and as long as the cluster shows it; what the
cluster shows is believed only where it lowers that trust; while a worker holds a lease nothing takes its mark back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from .workers import Worker

IDLE_SECONDS = 5.0  # without a lease before the mark goes: a job every few seconds must not cost two writes
LONGEST_IDLE_SECONDS = 120.0  # the same for a pool that gets a job every minute or so


class Mark(Enum):
    """What is known of one worker's mark."""

    UNKNOWN = "unknown"  # a write of it was not answered, or nothing was seen of it in this process
    SHOWN = "shown"  # the cluster shows it, but it is not ours: a predecessor may be taking it back
    SET = "set"
    CLEAR = "clear"


@dataclass(frozen=True, slots=True)
class Standing:
    """One guarded worker. `idle_seconds`: since its last lease, or since it was marked if that is later.

    `keep_seconds`: how long it keeps its mark then.
    """

    mark: Mark
    held: int
    idle_seconds: float
    cordoned: bool = False
    keep_seconds: float = IDLE_SECONDS


def decide_mark(standing: Standing) -> bool | None:
    """Whether the mark is to be set (True) or taken back (False); None: neither.

    A worker on a cordoned machine is leased nothing more: whoever drains that machine waits for its mark to go.
    """
    if standing.held:
        return True if standing.mark in (Mark.UNKNOWN, Mark.CLEAR) else None
    if standing.mark is Mark.CLEAR:
        return None
    return False if standing.cordoned or standing.idle_seconds >= standing.keep_seconds else None


def decide_keep(gap_seconds: float) -> float:
    """How long idle workers of a pool keep their marks, when one is wanted that long after the last one fell idle."""
    long_enough = 1.25 * gap_seconds
    return long_enough if IDLE_SECONDS < long_enough <= LONGEST_IDLE_SECONDS else IDLE_SECONDS


@dataclass(slots=True)
class Keeping:
    """How long the idle workers of one pool keep their marks: what was taken back too soon is kept longer next time."""

    seconds: float = IDLE_SECONDS
    _idle_from: float | None = None

    def took_back(self, *, idle_from: float) -> None:
        """A mark was taken back of a worker that was idle from then on."""
        self._idle_from = idle_from

    def marked(self, now: float) -> None:
        """A worker was marked: the first one after a mark was taken back tells whether that was too soon."""
        if self._idle_from is not None:
            self.seconds, self._idle_from = decide_keep(now - self._idle_from), None


class Marks:
    """The marks by worker id. Until `guarding` is set nobody has one, nor needs one."""

    def __init__(self) -> None:
        self.guarding = False
        self._known: dict[str, Mark] = {}
        self._set_at: dict[str, float] = {}
        self._watched: dict[str, None] = {}

    def of(self, id_: str) -> Mark:
        """What is known of a worker's mark."""
        return self._known.get(id_, Mark.UNKNOWN)

    def set_at(self, id_: str) -> float:
        """When it was set, on the monotonic clock."""
        return self._set_at.get(id_, 0.0)

    def missing(self, worker: Worker) -> bool:
        """Whether this worker must be marked before it may be leased anything."""
        return self.guarding and worker.guarded and self.of(worker.id) is not Mark.SET

    def watched(self) -> Iterator[str]:
        """Those for whom something may have to be written."""
        return iter(tuple(self._watched))

    def meet(self, id_: str) -> None:
        """It registered: what it did before is not known, unless the cluster told."""
        self._learn(id_, self.of(id_))

    def see(self, id_: str, *, shown: bool) -> None:
        """What the cluster shows now; somebody else may have written it."""
        mark = self._known.get(id_)
        if not shown and mark is not Mark.CLEAR:
            self._learn(id_, Mark.CLEAR)
        elif shown and mark is not Mark.SET and mark is not Mark.SHOWN:
            self._learn(id_, Mark.SHOWN)

    def doubt(self, id_: str) -> None:
        """A write of it begins: until it is answered nobody knows."""
        self._learn(id_, Mark.UNKNOWN)

    def wrote(self, id_: str, *, busy: bool, now: float) -> None:
        """Our write was answered."""
        self._learn(id_, Mark.SET if busy else Mark.CLEAR)
        if busy:
            self._set_at[id_] = now

    def settle(self, id_: str) -> None:
        """Nothing is to be written for it until something is learnt of it; one that may be marked is watched on."""
        if self.of(id_) is Mark.CLEAR:
            self._watched.pop(id_, None)

    def forget(self, id_: str) -> None:
        """Its process is gone."""
        for about in (self._known, self._set_at, self._watched):
            about.pop(id_, None)

    def _learn(self, id_: str, mark: Mark) -> None:
        self._known[id_] = mark
        self._watched[id_] = None
