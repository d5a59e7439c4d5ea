"""The declared metrics: one collector a registry, the reference page in step, no label of many values."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from mahavishnu_operator.support.metrics import Metric, counter, gauge, histogram, main


def test_a_metric_is_made_once_a_registry() -> None:
    registry = CollectorRegistry()
    assert counter(registry, Metric.GRANTS) is counter(registry, Metric.GRANTS)
    assert counter(CollectorRegistry(), Metric.GRANTS) is not counter(registry, Metric.GRANTS)


def test_a_metric_is_asked_for_by_its_type() -> None:
    with pytest.raises(TypeError, match="declared as a counter"):
        gauge(CollectorRegistry(), Metric.GRANTS)
    with pytest.raises(TypeError, match="declared as a gauge"):
        histogram(CollectorRegistry(), Metric.QUEUED)
    with pytest.raises(TypeError, match="declared as a histogram"):
        counter(CollectorRegistry(), Metric.LEASE_WAIT)


def test_counts_are_exported_under_the_declared_name() -> None:
    registry = CollectorRegistry()
    counter(registry, Metric.GRANTS).labels("default/pool").inc(3)
    assert b'mahavishnu_dispatch_grants_total{pool="default/pool"} 3.0' in generate_latest(registry)


@pytest.mark.parametrize("metric", Metric)
def test_no_label_has_a_value_for_every_object(metric: Metric) -> None:
    assert not {"job", "uid", "task", "worker", "name"} & set(metric.value.labels)


def test_the_reference_page_is_checked_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "reference" / "metrics.md"
    assert main(["--check", str(page)]) == 1
    assert "make crds" in capsys.readouterr().err
    assert main(["--write", str(page)]) == 0
    assert main(["--check", str(page)]) == 0
    assert "mahavishnu_dispatch_grants_total" in page.read_text()
