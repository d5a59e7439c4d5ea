from __future__ import annotations

import io

from rich.console import Console
from rich.progress import Progress as Bar

from mahavishnu_operator.cli.progress import BarProgress
from mahavishnu_operator.dispatch.protocol import JobProgress
from mahavishnu_operator.store.records import JobState


def test_the_bar_keeps_saying_that_it_stops_when_more_counts_come() -> None:
    bar = Bar(console=Console(file=io.StringIO()))
    progress = BarProgress(bar, bar.add_task("starting", total=None))
    progress.interrupted()
    progress.show(JobProgress(JobState.OPEN, total=4, succeeded=1, failed=0, cancelled=2, running=1))
    assert bar.tasks[0].description.startswith("stopping")
    assert (bar.tasks[0].completed, bar.tasks[0].total) == (2, 3)
