"""The yardstick: dask.distributed on this machine, two worker processes with one thread each, no-op tasks.

It keeps nothing on disk, so it is the easier case; it is what people would otherwise reach for.
"""

from __future__ import annotations

import time
from statistics import median

from .figures import Figures

WARM_UP = 50


def noop(number: int) -> int:
    return number


def measure(*, tasks: int, one_at_a_time: int) -> Figures:
    """Throughput with all tasks submitted at once, and latency with one in flight."""
    import dask

    dask.config.set({"logging": {"distributed": "error", "distributed.nanny": "error", "distributed.worker": "error"}})
    from distributed import Client, LocalCluster  # reads the logging configuration when it is imported

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        client.gather(client.map(noop, range(WARM_UP), pure=False))
        begun = time.perf_counter()
        client.gather(client.map(noop, range(tasks), pure=False))
        throughput = tasks / (time.perf_counter() - begun)
        waits = []
        for number in range(one_at_a_time):
            begun = time.perf_counter()
            client.submit(noop, number, pure=False).result()
            waits.append(time.perf_counter() - begun)
    return Figures(tasks_per_second=throughput, latency_seconds=tuple(waits), median_seconds=median(waits))
