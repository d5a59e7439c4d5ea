"""Progress of a scan on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from mahavishnu_operator.dispatch.protocol import JobProgress
from mahavishnu_operator.support.text import counted

from .output import say

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID


STOPPING = "stopping (Ctrl-C again: leave at once)"


class Progress(Protocol):
    """Told of every change of the job's counts."""

    def show(self, progress: JobProgress) -> None:
        """Show these counts."""
        ...

    def interrupted(self) -> None:
        """Say that the work is being stopped."""
        ...


def _without_plan(progress: JobProgress) -> tuple[int, int]:
    """Tasks ended and tasks in all, as the report counts them: the plan is the first and not among them."""
    if progress.total <= 1:
        return 0, 0
    return progress.succeeded + progress.failed + progress.cancelled - 1, progress.total - 1


class PlainProgress:
    """A line when a quarter more of the tasks has ended: readable in a CI log."""

    def __init__(self) -> None:
        self._said = -1

    def show(self, progress: JobProgress) -> None:
        """A line, if there is news worth one."""
        ended, total = _without_plan(progress)
        quarter = 4 * ended // total if total else 0
        if quarter > self._said:
            self._said = quarter
            if total:
                say(f"{ended} of {counted(total, 'task')} done, {progress.running} running")

    def interrupted(self) -> None:
        """A line."""
        say("stopping: children are being ended; press Ctrl-C again to leave at once")


class BarProgress:
    """A bar that redraws itself."""

    def __init__(self, bar: Bar, task: TaskID) -> None:
        self._bar, self._task = bar, task
        self._stopping = False  # stays in view whatever counts come after

    def show(self, progress: JobProgress) -> None:
        """Move the bar."""
        ended, total = _without_plan(progress)
        self._bar.update(
            self._task,
            total=total or None,
            completed=ended,
            description=STOPPING if self._stopping else f"{progress.running} running" if total else "listing files",
        )

    def interrupted(self) -> None:
        """Say so beside the bar."""
        self._stopping = True
        self._bar.update(self._task, description=STOPPING)


@contextmanager
def make_progress(headline: str) -> Iterator[Progress]:
    """The progress that fits stderr, closed at the end."""
    if not sys.stderr.isatty():
        say(headline)
        yield PlainProgress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    say(headline)
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        yield BarProgress(bar, bar.add_task("starting", total=None))
