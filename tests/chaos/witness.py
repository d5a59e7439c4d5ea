"""What really ran, told by the tasks themselves: each execution says in one file that it began and that it ended.

Each also writes a file into its workspace and some output, so that a full disk meets it there too. The witness's file
is outside of everything that is struck. Lines are appended by single writes, all of one length that divides a page's:
a write over the edge of a page is seen, and cut off by SIGKILL, in two parts; so nothing that happens to one execution
can damage the word of another.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

PATIENCE_SECONDS = 300.0  # without one more task begun: a machine five times slower is through with any back-off

LINE_BYTES = 128

SCRIPT = f"""\
import os, sys, time
def say(word):
    os.write(file, (word + " " + sys.argv[2] + " " + run).encode().ljust({LINE_BYTES - 1}) + b"\\n")
file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
run = os.urandom(8).hex()
say("began")
with open("work", "wb") as work:
    work.write(bytes(65536))
print("." * 4000, flush=True)
time.sleep(float(sys.argv[3]))
say("ended")
print(run)
"""


@dataclass(frozen=True, slots=True)
class Executions:
    """Random ids of executions by task: those that began, and those of them that came to their end."""

    began: Mapping[str, frozenset[str]]
    ended: Mapping[str, frozenset[str]]

    @property
    def count(self) -> int:
        """How many executions began."""
        return sum(len(runs) for runs in self.began.values())


class Witness:
    """The file. An execution prints its id, so that a result can be told from those of other attempts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def command(self, task: str, *, seconds: float) -> list[str]:
        """The argv of a task that takes a moment in which it can be struck."""
        assert len(task.encode()) < LINE_BYTES // 2
        return [sys.executable, "-I", "-S", "-c", SCRIPT, str(self.path), task, str(seconds)]

    def read(self) -> Executions:
        """All that was said so far."""
        said: dict[str, dict[str, set[str]]] = {"began": {}, "ended": {}}
        for line in self.path.read_text().splitlines():
            word, task, run = line.split()
            said[word].setdefault(task, set()).add(run)
        began, ended = ({task: frozenset(runs) for task, runs in said[word].items()} for word in ("began", "ended"))
        return Executions(began, ended)

    def wait_for(self, number: int, *, meanwhile: Callable[[], None]) -> None:
        """Until that many tasks have begun at least once. AssertionError when nothing goes on."""
        seen, deadline = -1, 0.0
        while (begun := len(self.read().began)) < number:
            if begun > seen:
                seen, deadline = begun, time.monotonic() + PATIENCE_SECONDS
            assert time.monotonic() < deadline, f"{begun} tasks have begun, and no other for {PATIENCE_SECONDS:g} s"
            meanwhile()
            time.sleep(0.02)
