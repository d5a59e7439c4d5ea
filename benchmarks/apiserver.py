"""A real API server for benchmarks, and how many writes it was asked for."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from mahavishnu_operator.api.reasons import GROUP
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from tests.cluster.build import CONTROL_PLANE, ensure
from tests.cluster.client import Cluster
from tests.cluster.controlplane import ControlPlane
from tests.integration.operator_tools import deploy

WRITES = frozenset({"POST", "PUT", "PATCH", "APPLY", "DELETE"})
REQUESTS = "apiserver_request_total"


@contextmanager
def api_server() -> Iterator[tuple[Cluster, Path]]:
    """A cluster without nodes that has our kinds, and an empty folder; both go in the end."""
    with tempfile.TemporaryDirectory(prefix="mahavishnu-bench-", ignore_cleanup_errors=True) as name:
        for part in ("cluster", "scratch"):
            (Path(name) / part).mkdir()
        with ControlPlane(Path(name) / "cluster", binaries=ensure(CONTROL_PLANE)) as plane:
            deploy(plane.cluster)
            yield plane.cluster, Path(name) / "scratch"


async def count_writes(resources: KubernetesResources, *, also: Collection[str] = ()) -> Counter[str]:
    """Writes so far, by `VERB resource[/subresource]`: of our kinds, of Events, and of those that are named so."""
    text = (await resources.get_bytes("/metrics")).decode()
    lines = [line for line in text.splitlines() if line.startswith(REQUESTS)]
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families("\n".join(["# TYPE apiserver_request counter", *lines, ""])):
        for sample in family.samples:
            labels = sample.labels
            what = f"{labels['verb']} {'/'.join(filter(None, (labels['resource'], labels['subresource'])))}"
            ours = labels["group"] == GROUP or labels["resource"] == "events" or what in also
            if ours and labels["verb"] in WRITES:
                found[what] += int(sample.value)
    return found
