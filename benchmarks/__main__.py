"""`make bench`: dispatch latency and throughput next to dask.distributed, in the same run, as JSON lines.

Load goes to loopback only and is bounded in count; figures are ratios, because machines differ.
"""

from __future__ import annotations

import asyncio
import os
from statistics import median, quantiles

from mahavishnu_operator.support.logs import configure_logging

from . import engine, yardstick_dask
from .figures import print_line

TASKS = 10_000
ONE_AT_A_TIME = 300


def main() -> None:
    """Measure both contenders and print a line each, then the ratios."""
    configure_logging(level="warning")
    print_line("machine", cores=os.cpu_count() or 0, tasks=TASKS, one_at_a_time=ONE_AT_A_TIME, workers=2)
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
        "ratios",
        throughput=ours.tasks_per_second / dask.tasks_per_second,
        latency_p50=ours.median_seconds / dask.median_seconds,
    )


if __name__ == "__main__":
    main()
