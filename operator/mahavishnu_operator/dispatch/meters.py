"""The dispatcher's metrics, with the children of each pool looked up once.

The pressure: these are called for every task, and finding a labelled child costs more than counting.
"""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from mahavishnu_operator.api.reasons import FailureClass
from mahavishnu_operator.store.records import TaskState
from mahavishnu_operator.support.metrics import Metric, counter, gauge, histogram


@dataclass(frozen=True, slots=True)
class PoolMeters:
    """The metrics of one pool."""

    grants: Counter
    results: dict[str, Counter]
    ended: dict[TaskState, Counter]
    attempts: dict[FailureClass, Counter]
    lease_wait: Histogram
    result_latency: Histogram
    queued: Gauge
    running: Gauge
    workers: Gauge

    def levels(self, *, queued: int, running: int, workers: int) -> None:
        """Set the gauges."""
        self.queued.set(queued)
        self.running.set(running)
        self.workers.set(workers)


class Meters:
    """Counts on a registry of its own, unless one is given."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        self._pools: dict[str, PoolMeters] = {}
        self._refused = counter(self.registry, Metric.REFUSED)

    def refused(self, reason: str) -> None:
        """A call was answered with an error."""
        self._refused.labels(reason).inc()

    def pool(self, name: str) -> PoolMeters:
        """The meters of a pool."""
        found = self._pools.get(name)
        if found is None:
            found = self._pools[name] = self._make(name)
        return found

    def _make(self, name: str) -> PoolMeters:
        registry = self.registry
        results = counter(registry, Metric.RESULTS)
        ended = counter(registry, Metric.TASKS_ENDED)
        attempts = counter(registry, Metric.ATTEMPTS_ENDED)
        return PoolMeters(
            grants=counter(registry, Metric.GRANTS).labels(name),
            results={r: results.labels(name, r) for r in ("recorded", "duplicate", "superseded", "unknown")},
            ended={s: ended.labels(name, s.value) for s in TaskState if s.terminal},
            attempts={c: attempts.labels(name, c.value) for c in FailureClass},
            lease_wait=histogram(registry, Metric.LEASE_WAIT).labels(name),
            result_latency=histogram(registry, Metric.RESULT_LATENCY).labels(name),
            queued=gauge(registry, Metric.QUEUED).labels(name),
            running=gauge(registry, Metric.RUNNING).labels(name),
            workers=gauge(registry, Metric.WORKERS).labels(name),
        )
