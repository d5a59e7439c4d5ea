"""What a benchmark answers, and how it is printed: one JSON object a line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from statistics import quantiles

PRINTED: list[dict[str, float | int | str]] = []
"""All lines of this run."""


@dataclass(frozen=True)
class Figures:
    """One run of one contender. Latencies are of one task in flight, in seconds."""

    tasks_per_second: float
    latency_seconds: tuple[float, ...]
    median_seconds: float

    @property
    def p99_seconds(self) -> float:
        """The 99th percentile of the latencies."""
        return quantiles(self.latency_seconds, n=100)[98]


def print_line(name: str, **values: float | int | str) -> None:
    """One JSON line on stdout; floats get four digits."""
    rounded = {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in values.items()}
    PRINTED.append({"benchmark": name, **rounded})
    print(json.dumps(PRINTED[-1]), flush=True)
