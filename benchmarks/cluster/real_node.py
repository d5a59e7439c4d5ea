"""A cluster with a real node for benchmarks: our kinds are installed, and the worker's image is on it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.build import ensure
from tests.cluster.node.cluster import NODE_CLUSTER, NodeCluster
from tests.cluster.node.configuration import PAUSE_IMAGE
from tests.cluster.node.node import missing_for_node
from tests.images.building import ensure_image, ensure_pause_image
from tests.integration.operator_tools import deploy


@contextmanager
def real_node() -> Iterator[tuple[NodeCluster, Path, str]]:
    """The cluster, an empty folder, and the reference of the worker's image; all of it goes in the end."""
    if (missing := missing_for_node()) is not None:
        raise SystemExit(f"no Pod can run here: {missing}")
    pause, worker = ensure_pause_image(PAUSE_IMAGE), ensure_image("worker")
    with tempfile.TemporaryDirectory(prefix="mahavishnu-bench-", ignore_cleanup_errors=True) as name:
        for part in ("cluster", "scratch"):
            (Path(name) / part).mkdir()
        binaries = ensure(NODE_CLUSTER)
        with NodeCluster(Path(name) / "cluster", binaries=binaries, pause_image=pause.archive) as built:
            deploy(built.cluster)
            built.node.import_image(worker.archive)
            yield built, Path(name) / "scratch", worker.reference
