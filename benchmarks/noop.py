"""No-op tasks: dispatch latency and throughput next to dask.distributed."""

from __future__ import annotations

import asyncio
from statistics import median, quantiles

from . import engine, yardstick_dask
from .figures import print_line

TASKS = 10_000
ONE_AT_A_TIME = 300


def main() -> None:
    """Measure both contenders and print a line each, then the ratios."""
    ours, at_rate = asyncio.run(engine.measure(tasks=TASKS, one_at_a_time=ONE_AT_A_TIME))
    dask = yardstick_dask.measure(tasks=TASKS // 4, one_at_a_time=ONE_AT_A_TIME)
    for name, figures in (("mahavishnu, durable", ours), ("dask.distributed", dask)):
        print_line(
            "noop tasks",
            contender=name,
            tasks_per_second=figures.tasks_per_second,
            latency_p50_ms=1000 * figures.median_seconds,
            latency_p99_ms=1000 * figures.p99_seconds,
        )
    print_line(
        "noop tasks at 50 a second",
        contender="mahavishnu, durable",
        p50_ms=1000 * median(at_rate),
        p99_ms=1000 * quantiles(at_rate, n=100)[98],
    )
    print_line(
        "noop tasks, ratios to dask.distributed",
        throughput=ours.tasks_per_second / dask.tasks_per_second,
        latency_p50=ours.median_seconds / dask.median_seconds,
    )
