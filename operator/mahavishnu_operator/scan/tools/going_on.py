"""Going on where a tool stopped at one file: which files its next run has, and the report of all runs.

The pressure: one file that cannot be read hides all others from mypy and vulture, and they name one such file a
run. What must stay true: a file that was set aside is in the report as unread, with the reason; the number of
runs is bounded, and a tool that still stops then has not looked. Pure; the runs are the worker's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mahavishnu_operator.scan.model import ToolReport, Unread

from .protocol import StopsAtOneFile, Tool, ToolOutput

MAX_RUNS = 20


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a tool over what is left of a bin: `number` counts from 1, `seconds` are of the runs before it."""

    files: tuple[str, ...]
    set_aside: tuple[Unread, ...] = ()
    number: int = 1
    seconds: float = 0.0

    def after(self, output: ToolOutput, blockers: Iterable[Unread]) -> Run:
        """The next one, without those files. The first reason that names a file is the one that is told."""
        aside = {each.path: each for each in reversed([*self.set_aside, *blockers])}
        return Run(
            files=tuple(path for path in self.files if path not in aside),
            set_aside=tuple(aside.values()),
            number=self.number + 1,
            seconds=self.seconds + output.seconds,
        )


def blockers(tool: Tool, run: Run, output: ToolOutput, *, root: Path) -> tuple[Unread, ...]:
    """What to set aside before the tool runs again; empty when this run's answer stands."""
    if run.number >= MAX_RUNS or not isinstance(tool, StopsAtOneFile):
        return ()
    left = frozenset(run.files)
    return tuple(each for each in tool.blockers(output, files=run.files, root=root) if each.path in left)


def report_of(tool: Tool, run: Run, output: ToolOutput, *, root: Path, version: str) -> ToolReport:
    """What the last run said, with what was set aside before it."""
    last = tool.parse(output, files=run.files, root=root, version=version)
    return _with(last, run, run.set_aside)


def nothing_left(tool: Tool, run: Run, *, version: str) -> ToolReport:
    """The report when all files were set aside: it ran, and read none."""
    return _with(ToolReport(tool=tool.name, version=version, outcome="ok"), run, run.set_aside)


def _with(report: ToolReport, run: Run, set_aside: Sequence[Unread]) -> ToolReport:
    unread = sorted(
        {*report.unread, *set_aside}, key=lambda each: (each.path.encode(errors="surrogateescape"), each.reason)
    )
    return replace(
        report, unread=tuple(unread), files=report.files + len(set_aside), seconds=run.seconds + report.seconds
    )
