"""The figures that were asked for, picked from the lines that a run printed: figure, goal, measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Line = Mapping[str, float | int | str]


@dataclass(frozen=True)
class Goal:
    """One figure: `key` of the line of that benchmark, or of its line about `of` where it prints several."""

    figure: str
    goal: str
    benchmark: str
    key: str
    of: str | int = ""

    def measured(self, lines: Sequence[Line]) -> str:
        """The figure in the newest such line; '' when there is none."""
        for line in reversed(lines):
            if line["benchmark"] == self.benchmark and (not self.of or self.of in line.values()):
                return str(line[self.key])
        return ""


DASK, BARE = "noop tasks, ratios to dask.distributed", "commands, ratios to a bare loop"
KOPF, QUEUED = "scanjobs, ratios to a bare kopf handler", "queued tasks, cost of one among many to one among few"
XARGS = "scan of the standard library, ratio to xargs"
TO_BARE = "throughput_to_a_bare_kopf_handler"
EMBEDDED, SERVER = "gateway, embedded", "gateway, API server"
WARM, SCALE = "warm Pods, ratios to a bare kopf handler", "scale, ratios"

GOALS = (
    Goal("no-op tasks a second, to dask.distributed", ">= 5", DASK, "throughput"),
    Goal("no-op task one at a time, p50, to dask.distributed", "<= 0.4", DASK, "latency_p50"),
    Goal("no-op task at 50 a second, p99, ms", "<= 10", "noop tasks at 50 a second", "p99_ms"),
    Goal("commands a second, to subprocess.run in a loop", ">= 0.8", BARE, "throughput", of="subprocess"),
    Goal("processor time of a command, to subprocess.run", "", BARE, "cpu", of="subprocess"),
    Goal("commands a second, to asyncio's processes in a loop", "", BARE, "throughput", of="asyncio"),
    Goal("ScanJobs to done a second, to a bare kopf handler", ">= 0.33", KOPF, "throughput"),
    *(
        Goal(f"ScanJob created to Complete at {rate} a second, {part}, to the same", "<= 4", KOPF, f"{part}_at_{rate}")
        for rate in (10, 75)
        for part in ("p50", "p99")
    ),
    Goal("processor time of a ScanJob, all processes, to the same", "", KOPF, "cpu"),
    Goal("API writes a ScanJob", "stated", "scanjobs, API writes a ScanJob", "all", of="mahavishnu"),
    Goal("scan of the standard library, six tools, wall, to xargs -P", "<= 1.10", XARGS, "ratio"),
    Goal("memory of a task queued among 10,000, to one among 1,000", "linear: 1", QUEUED, "memory"),
    Goal("processor time of queueing it, to the same", "linear: 1", QUEUED, "queueing_cpu"),
    Goal("API writes in 30 s, 100 pools idle", "0", "idle", "api_writes"),
    Goal("processor of the operator then, %", "< 1", "idle", "operator_cpu_percent"),
    Goal("warm Pods, created to Complete at 75 a second, p50, ms", "<= 20", "warm Pods", "p50_ms", of="mahavishnu"),
    Goal("the same, p99, ms", "<= 60", "warm Pods", "p99_ms", of="mahavishnu"),
    *(Goal(f"the same, {part}, to a bare kopf handler", "<= 4", WARM, part) for part in ("p50", "p99")),
    *(
        Goal(f"{tasks} tasks with a Pod each, wall, to kubectl create job", "<= 1.1", "a Pod a task", "ratio", of=tasks)
        for tasks in (1, 50)
    ),
    Goal("simulated fleet, ScanJobs to done a second, to a bare kopf handler", ">= 0.33", SCALE, TO_BARE),
    Goal("processor time of a ScanJob, large fleet to small", "linear: 1", SCALE, "cpu_of_a_job, large to small"),
    Goal("processor time of a worker, large fleet to small", "linear: 1", SCALE, "cpu_of_a_worker, large to small"),
    Goal("pool_execute of a no-op at 50 a second, p99, ms", "<= 10", EMBEDDED, "p99_ms", of="pool_execute"),
    Goal("one at a time, p50, to a bare tool", "stated", f"{EMBEDDED}, ratios to a bare tool", "p50_one_at_a_time"),
    Goal("on an API server at 75 a second, p50, ms", "<= 30", SERVER, "p50_ms", of="pool_execute"),
    Goal("the same, p99, ms", "<= 90", SERVER, "p99_ms", of="pool_execute"),
    Goal("ten pools of ten workers, calls a second", "stated", "gateway, fleet", "calls_per_second"),
    Goal("choosing a pool among ten, p99, ms", "< 10", "gateway, fleet, choosing a pool", "p99_ms"),
    Goal("memory of the server after 5,000 calls, MiB", "stated", "gateway, fleet", "server_mib_after"),
)


def table(lines: Sequence[Line]) -> str:
    """What was measured next to what was asked for; what was not run is left out."""
    rows = [(goal.figure, goal.goal, measured) for goal in GOALS if (measured := goal.measured(lines))]
    rows = [("figure", "goal", "measured"), *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
