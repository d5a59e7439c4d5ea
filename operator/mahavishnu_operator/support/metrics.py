"""Every metric we export: name, type, help and labels in one enum.

The pressure: dashboards and alerts match these names, and a label with a value for every job or object
makes a time series for each of them until the monitoring falls over. What must stay true: labels have few
values (a pool's key, an outcome, a class), never a job's or object's name or UID; a metric is declared
here or it does not exist; docs/reference/metrics.md is generated from here:
`python -m mahavishnu_operator.support.metrics --write|--check FILE`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

QUICK_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
WAIT_BUCKETS = (0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0)


@dataclass(frozen=True)
class Declared:
    """A metric as exported; a counter's name gets `_total` by convention."""

    name: str
    kind: type[Counter] | type[Gauge] | type[Histogram]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


class Metric(Enum):
    """All metrics."""

    GRANTS = Declared("mahavishnu_dispatch_grants", Counter, "Tasks leased to workers.", ("pool",))
    RESULTS = Declared(
        "mahavishnu_dispatch_results",
        Counter,
        "Results delivered, by receipt: recorded, duplicate, superseded, unknown.",
        ("pool", "receipt"),
    )
    TASKS_ENDED = Declared(
        "mahavishnu_dispatch_tasks_ended",
        Counter,
        "Tasks that came to their end, by outcome: succeeded, failed, cancelled.",
        ("pool", "outcome"),
    )
    ATTEMPTS_ENDED = Declared(
        "mahavishnu_dispatch_attempts_without_answer",
        Counter,
        "Attempts that brought no answer that counts, by class: tool, worker-lost, disrupted, unstarted.",
        ("pool", "class"),
    )
    QUEUED = Declared(
        "mahavishnu_dispatch_queued_tasks", Gauge, "Tasks of open jobs that wait for a worker.", ("pool",)
    )
    RUNNING = Declared("mahavishnu_dispatch_running_tasks", Gauge, "Tasks that are leased.", ("pool",))
    WORKERS = Declared("mahavishnu_dispatch_workers", Gauge, "Registered workers.", ("pool",))
    LEASE_WAIT = Declared(
        "mahavishnu_dispatch_lease_wait_seconds",
        Histogram,
        "Seconds from queued to leased, back-off not counted.",
        ("pool",),
        WAIT_BUCKETS,
    )
    RESULT_LATENCY = Declared(
        "mahavishnu_dispatch_result_latency_seconds",
        Histogram,
        "Seconds from the arrival of results to their being durable, a request.",
        ("pool",),
        QUICK_BUCKETS,
    )
    REFUSED = Declared(
        "mahavishnu_dispatch_refused_calls",
        Counter,
        "Calls of workers answered with an error, by its reason.",
        ("reason",),
    )
    GATEWAY_CALLS = Declared(
        "mahavishnu_gateway_calls",
        Counter,
        "Calls of MCP tools, by outcome: answered, failed, refused, rate_limited, defect, abandoned.",
        ("tool", "outcome"),
    )
    GATEWAY_SECONDS = Declared(
        "mahavishnu_gateway_call_seconds", Histogram, "Seconds until a call was answered.", ("tool",), WAIT_BUCKETS
    )
    LOOP_TASKS = Declared(
        "mahavishnu_event_loop_tasks",
        Gauge,
        "Tasks of the event loop that serves agents: at rest a few, and as many as before.",
    )
    RECONCILE_ERRORS = Declared(
        "mahavishnu_reconcile_errors",
        Counter,
        "Reconciles that failed and are tried again, by queue: pools, jobs.",
        ("queue",),
    )


_TYPE_NAMES = {Counter: "counter", Gauge: "gauge", Histogram: "histogram"}
_made: WeakKeyDictionary[CollectorRegistry, dict[Metric, Counter | Gauge | Histogram]] = WeakKeyDictionary()


def counter(registry: CollectorRegistry, metric: Metric) -> Counter:
    """The counter in that registry, made on first use. TypeError when it is declared as something else."""
    made = _collector(registry, metric)
    if not isinstance(made, Counter):
        raise TypeError(f"{metric} is declared as a {_TYPE_NAMES[metric.value.kind]}, not as a counter")
    return made


def gauge(registry: CollectorRegistry, metric: Metric) -> Gauge:
    """The gauge in that registry, made on first use. TypeError when it is declared as something else."""
    made = _collector(registry, metric)
    if not isinstance(made, Gauge):
        raise TypeError(f"{metric} is declared as a {_TYPE_NAMES[metric.value.kind]}, not as a gauge")
    return made


def histogram(registry: CollectorRegistry, metric: Metric) -> Histogram:
    """The histogram in that registry, made on first use. TypeError when it is declared as something else."""
    made = _collector(registry, metric)
    if not isinstance(made, Histogram):
        raise TypeError(f"{metric} is declared as a {_TYPE_NAMES[metric.value.kind]}, not as a histogram")
    return made


def _collector(registry: CollectorRegistry, metric: Metric) -> Counter | Gauge | Histogram:
    made = _made.setdefault(registry, {})
    if metric not in made:
        declared = metric.value
        if declared.kind is Histogram:
            made[metric] = Histogram(
                declared.name, declared.help, declared.labels, registry=registry, buckets=declared.buckets
            )
        else:
            made[metric] = declared.kind(declared.name, declared.help, declared.labels, registry=registry)
    return made[metric]


def reference() -> str:
    """The reference page."""
    rows = [
        f"| `{m.value.name}{'_total' if m.value.kind is Counter else ''}` | {_TYPE_NAMES[m.value.kind]} "
        f"| {', '.join(f'`{label}`' for label in m.value.labels) or '-'} | {m.value.help} |"
        for m in Metric
    ]
    head = "# Metrics\n\nGenerated from `support/metrics.py`. Served on `/metrics` in the Prometheus text format.\n\n"
    return head + "| Name | Type | Labels | Meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Write the page, or check that it is in step; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m mahavishnu_operator.support.metrics")
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", type=Path, metavar="FILE")
    mode.add_argument("--check", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    if options.write is not None:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(reference(), encoding="utf-8")
        return 0
    if not options.check.is_file() or options.check.read_text(encoding="utf-8") != reference():
        print(f"{options.check} does not say what support/metrics.py declares: run `make crds`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
